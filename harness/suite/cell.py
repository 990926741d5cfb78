"""A cell: one point of the grid, everything that decides its numbers and nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, field_validator

from harness.registry import Choice, is_stored
from harness.suite.model import Training

IDENTITY_VERSION = 1
"""Raised when the same cell gets another specification; ids of before are then other ids."""

PROTOCOL_VERSION = 1
"""Raised when what all cells share gives other numbers: the training loop and its streams, the
blocks that architectures are built of, the inputs that probes are given. Entries have versions of
their own. ``tests/test_golden_numbers.py`` notices."""

MAX_PREFIX = 60
UNSAID = ("none", "permutation")
"""Entries inside others that a prefix leaves out: nothing, and the mixing that most flows have. A
list, and not the defaults that the registry knows: a cell keeps its id when a default changes."""


def canonical(value: object) -> str:
    """The one JSON text of a value: sorted keys, no spaces, -0.0 as 0.0.

    Raises:
        ValueError: It holds NaN or an infinity.
    """
    return json.dumps(_positive_zero(value), sort_keys=True, separators=(",", ":"), allow_nan=False)


def _positive_zero(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _positive_zero(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_positive_zero(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


class Cell(BaseModel):
    """One point of the grid.

    Whatever is set here decides the cell's numbers, and whatever decides them is set here: the
    suite's name, the resources, the device and the paths are not.

    Attributes:
        task: What the network is trained for.
        architecture: The network.
        regularizer: The penalty.
        dataset: What it is trained on.
        probes: What is measured, and how often; kept sorted, for their order means nothing.
        training: How it is trained.
        seed: Of everything random.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Choice
    architecture: Choice
    regularizer: Choice
    dataset: Choice
    probes: tuple[Choice, ...]
    training: Training
    seed: int

    @field_validator("probes")
    @classmethod
    def _sorted(cls, probes: tuple[Choice, ...]) -> tuple[Choice, ...]:
        return tuple(sorted(probes, key=lambda probe: canonical(probe.model_dump())))

    def specification(self) -> str:
        """Canonical JSON of everything that decides the numbers, with its schema version."""
        return self._specification

    @cached_property
    def _specification(self) -> str:
        return canonical(
            {
                "identity": IDENTITY_VERSION,
                "protocol": PROTOCOL_VERSION,
                **self.model_dump(mode="json"),
            }
        )

    @cached_property
    def id(self) -> str:
        """``affine-exp_none_checkerboard_s0-62d63c7434a5``: readable, then 48 bits of a hash."""
        digest = hashlib.blake2b(self._specification.encode(), digest_size=6).hexdigest()
        return f"{_prefix(self)}-{digest}"

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """A copy, whose id is its own: what was computed of this cell does not come along."""
        copied = super().model_copy(update=update, deep=deep)
        for computed in ("_specification", "id"):
            copied.__dict__.pop(computed, None)
        return copied

    def __hash__(self) -> int:
        """Of the specification; equal cells have the same."""
        return hash(self._specification)

    @classmethod
    def from_specification(cls, text: str) -> Self:
        """The cell of a specification, as a store keeps it.

        Raises:
            ValueError: It is not a specification, or one of another identity version.
        """
        content = json.loads(text)
        if not isinstance(content, dict) or "identity" not in content:
            raise ValueError("not a cell's specification")
        if (version := content.pop("identity")) != IDENTITY_VERSION:
            message = f"a specification of identity version {version}, not {IDENTITY_VERSION}"
            raise ValueError(message)
        if (protocol := content.pop("protocol", None)) != PROTOCOL_VERSION:
            message = f"a specification of protocol {protocol}, not {PROTOCOL_VERSION}"
            raise ValueError(message)
        return cls.model_validate(content)


def _prefix(cell: Cell) -> str:
    """What a person recognises; the hash alone tells cells apart."""
    seed = f"_s{cell.seed}"
    names = "_".join(_readable(c) for c in (cell.architecture, cell.regularizer, cell.dataset))
    return names[: MAX_PREFIX - len(seed)].rstrip("-_.") + seed


def _readable(choice: Choice) -> str:
    """The name, then the names of entries inside, parameters by name: ``affine-exp``.

    An entry inside that is called as one of :data:`UNSAID` is left out.
    """
    inside = [
        _readable(Choice.model_validate(item))
        for _, item in sorted(choice.parameters.items())
        if isinstance(item, dict) and is_stored(item) and item["name"] not in UNSAID
    ]
    return "-".join([re.sub(r"[^A-Za-z0-9_.]+", "-", choice.name), *inside])
