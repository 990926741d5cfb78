"""Which version of the schema a file was written in."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harness.results import layout
from harness.results.schema import VERSION, VERSION_KEY


def mismatch(path: Path, metadata: pq.FileMetaData) -> str | None:
    """A sentence on a file that this innbench does not read; ``None`` where it does."""
    version = (metadata.metadata or {}).get(VERSION_KEY)
    if version == str(VERSION).encode():
        return None
    has = f"has schema version {version.decode()}" if version else "has no schema version"
    advice = "read the store with the innbench that wrote it, or run its suite into a new one"
    return f"{path} {has}, and this innbench reads schema version {VERSION}; {advice}"


def first_mismatch(store: Path) -> str | None:
    """That sentence on the first such file of a store: looked for once reading has failed."""
    for path in sorted(store.glob(f"suite=*/*/[!.]*{layout.SUFFIX}")):
        try:
            found = mismatch(path, pq.read_metadata(path))
        except (pa.ArrowException, OSError):  # damaged, which is another sentence
            continue
        if found is not None:
            return found
    return None
