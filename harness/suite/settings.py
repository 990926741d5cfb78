"""Training settings as a suite writes them: values, lists of values, overrides."""

import itertools
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from harness.errors import Key, Problem
from harness.suite.document import Document
from harness.suite.model import Training

Written = dict[str, tuple[Any, ...]]
"""Per setting given, its values in the order of the file."""


def written_settings(
    written: object, key: Key, document: Document, problems: list[Problem]
) -> Written:
    """The values of each setting that can be used.

    What is wrong with one value is left to :func:`harness.suite.structure.structural_problems`;
    only lists that are empty or that repeat a value are reported here.
    """
    settings: Written = {}
    for name, value in written.items() if isinstance(written, Mapping) else ():
        if name not in Training.model_fields:
            continue
        values: list[Any] = []
        if value == []:
            message = "should not be empty: it leaves nothing to run"
            problems.append(document.problem((*key, name), message))
        for i, item in enumerate(value if isinstance(value, list) else [value]):
            try:
                settled = getattr(Training.model_validate({name: item}), name)
            except ValidationError:
                continue
            if settled in values:
                message = f"{item!r} is given twice: every cell of it would be there twice"
                problems.append(document.problem((*key, name, i), message))
            else:
                values.append(settled)
        if values:
            settings[name] = tuple(values)
    return settings


def trainings(settings: Written) -> tuple[Training, ...]:
    """Every combination of the values."""
    combinations = itertools.product(*settings.values())
    return tuple(
        Training.model_validate(dict(zip(settings, values, strict=True))) for values in combinations
    )
