"""``module:factory``: what is in no registry, found by where it is."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pydantic import ConfigDict, create_model

from harness.errors import InputError, allowed_and_nearest
from harness.registry.entry import Choice, Entry, Shape, described

IMPORT = "import"
"""The key in place of ``name`` that gives the path of a factory."""

_JSON = (bool, int, float, str, list, dict, type(None))

ADAPTER = "harness.adapters.adapt:adapted"
"""What makes a bijection of whatever a factory builds."""


def imported(path: str) -> Callable[..., Any]:
    """The factory ``package.module:factory``, also one in the folder that one is in.

    Raises:
        InputError: There is none; why, in one sentence.
    """
    module_name, separator, attribute = path.partition(":")
    if not (module_name and separator and attribute):
        raise InputError(f"{path!r} is no module:factory")
    # A command's path, unlike python's own, lacks the folder that one is in.
    if (here := os.getcwd()) not in sys.path:  # noqa: PTH109 - a path as sys.path holds it
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001, RUF100 - a stranger's module
        said = f"{type(error).__name__}: {error}".split("\n")[0]
        raise InputError(f"cannot import {module_name!r}: {said}") from None
    factory = getattr(module, attribute, None)
    if factory is None:
        known = [
            key
            for key, value in vars(module).items()
            if (inspect.isfunction(value) or inspect.isclass(value))
            and value.__module__ == module_name
        ]
        message = f"{module_name} has no {attribute!r}; {allowed_and_nearest(attribute, known)}"
        raise InputError(message)
    if not callable(factory):
        raise InputError(f"{path} is no factory(shape, generator), but {type(factory).__name__}")
    made: Callable[..., Any] = factory
    return made


def is_imported(choice: Choice) -> bool:
    """Whether an architecture is in no registry."""
    return ":" in choice.name


def search_in(*folders: str) -> None:
    """Let factories be found in these folders, after those of python's own path."""
    sys.path.extend(folder for folder in folders if folder not in sys.path)


class ImportedFactory:
    """A factory of somebody else's: ``factory()``, ``factory(shape)`` or ``(shape, generator)``.

    What it draws from the global generators follows the harness's generator, and leaves theirs as
    they were.

    Args:
        path: Where it is.
        factory: What was found there.
    """

    def __init__(self, path: str, factory: Callable[..., Any]) -> None:
        self.path, self.factory = path, factory
        self.marked = hasattr(factory, "__innbench_entry__")
        needed = [one for one in _positional(factory) if one.default is inspect.Parameter.empty]
        self.takes = 2 if self.marked else len(needed)
        if self.takes > 2:
            names = ", ".join(one.name for one in needed)
            raise InputError(f"{path} needs ({names}), and gets a shape and a generator")

    def raw(self, shape: Shape, generator: torch.Generator, **parameters: Any) -> Any:
        """What it builds, as it is."""
        with _seeded(generator.initial_seed()):
            return self.factory(*(shape, generator)[: self.takes], **parameters)

    def __call__(self, shape: Shape, generator: torch.Generator, **parameters: Any) -> Any:
        """What it builds, as a bijection."""
        module, _, attribute = ADAPTER.partition(":")
        adapted = getattr(importlib.import_module(module), attribute)
        built = self.raw(shape, generator, **parameters)
        try:
            return adapted(built)
        except TypeError as error:
            raise TypeError(f"{self.path}: {error}") from None


def imported_entry(path: str) -> Entry:
    """The architecture that a factory is.

    One that is marked with :func:`harness.registry.entry` has its version, parameters and
    refusals. Of any other the keyword parameters are what a suite may set, its version is 0, and
    its cells run one by one, for nothing is known of whether it branches on data.

    Raises:
        InputError: It cannot be imported, or is no such factory.
    """
    factory = imported(path)
    built = ImportedFactory(path, factory)
    if built.marked:
        try:
            found = described("architecture", path, factory, "here")
        except Exception as error:
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            raise InputError(f"{path} is no entry: {said}") from None
        marks = {**vars(found), "factory": built}
        return Entry(**marks)
    strict = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    model = create_model(path, __config__=strict, **_settable(factory))
    summary = (inspect.getdoc(factory) or "").split("\n")[0]
    return Entry(
        axis="architecture",
        name=path,
        version=0,
        factory=built,
        parameters=model,
        refuses=None,
        branches=("forward", "inverse"),
        uses=("forward",),
        learns_inverse=False,
        presets={},
        cost=None,
        summary=summary,
        origin="here",
    )


def _positional(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except ValueError:  # written in C
        return []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [one for one in parameters if one.kind in kinds]


def _settable(factory: Callable[..., Any]) -> dict[str, Any]:
    """Name → (type, default) of what may be given by keyword, and is not the harness's to give."""
    fields: dict[str, Any] = {}
    try:
        parameters = inspect.signature(factory, eval_str=True).parameters.values()
    except Exception:  # annotations that lead nowhere say no type
        parameters = inspect.signature(factory).parameters.values()
    for one in parameters:
        needed = one.default is inspect.Parameter.empty
        if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and needed:
            continue
        if one.kind in (
            inspect.Parameter.KEYWORD_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        ):
            if not needed and not isinstance(one.default, _JSON):
                continue  # a class or a function: no suite can give another
            untyped = one.annotation is inspect.Parameter.empty or isinstance(one.annotation, str)
            fields[one.name] = (Any if untyped else one.annotation, ... if needed else one.default)
    return fields


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)
