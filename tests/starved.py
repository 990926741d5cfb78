"""A process that runs packs of cells with less address space than they take.

    python -m tests.starved STORE ROOM < packs

ROOM is in members of the last pack, as the bytes of their tensors; 0 limits nothing. The worker is
kept from measuring what fits, so that it must find out.
"""

import json
import resource
import sys
from pathlib import Path

import pytest
import torch

from harness import worker
from harness.memory.freed import release_freed_memory
from harness.memory.member import SAFETY, member_bytes
from harness.suite.cell import Cell


def address_space() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def main(store: str, room: float) -> None:
    packs = [[(cell_id, text) for cell_id, text in pack] for pack in json.load(sys.stdin)]
    cell = Cell.from_specification(packs[-1][0][1])
    # Whatever is loaded or started at first use is there before the limit.
    worker.run_pack(packs[-1][:1], "warm", store, worker.Conditions(), 1)
    member = member_bytes(cell)
    assert member is not None
    release_freed_memory()
    if room:
        limit = address_space() + int(room * member / SAFETY)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "size_to_train", lambda cell, wanted, device, share: wanted)
        found = [worker.run_pack(pack, "starved", store, worker.Conditions(), 1) for pack in packs]
    outcomes = [(one.cell_id, one.status, one.message) for pack in found for one in pack]
    sys.stdout.write(json.dumps(outcomes))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1], float(sys.argv[2]))
