"""Name → entry, from this package and from others."""

import functools
import importlib
from importlib.metadata import entry_points

from harness.errors import InputError, allowed_and_nearest
from harness.registry.built_in import BUILT_IN
from harness.registry.entry import Entry, UnresolvedError, described
from harness.registry.imported import imported_entry


@functools.cache
def _plug_ins(axis: str) -> tuple[dict[str, Entry], dict[str, str]]:
    found: dict[str, Entry] = {}
    failed: dict[str, str] = {}
    for point in entry_points(group=f"innbench.{axis}"):
        origin = point.dist.name if point.dist else "unknown"
        label = f"{point.name} ({origin})"
        if point.name in BUILT_IN[axis] or point.name in found:
            failed[label] = f"the name {point.name!r} is taken"
            continue
        try:
            found[point.name] = described(axis, point.name, point.load(), origin)
        except (Exception, SystemExit) as error:  # noqa: BLE001, RUF100 - a stranger's module may raise anything
            failed[label] = f"{type(error).__name__}: {error}"
    return found, failed


def names(axis: str) -> list[str]:
    """All names on an axis, sorted."""
    return sorted({*BUILT_IN[axis], *_plug_ins(axis)[0]})


def broken(axis: str) -> dict[str, str]:
    """Plug-ins of an axis that could not be loaded: label → why."""
    return dict(_plug_ins(axis)[1])


@functools.cache
def get(axis: str, name: str) -> Entry:
    """The entry of that name; of an architecture also ``module:factory``.

    Raises:
        UnresolvedError: No such name on the axis; the message lists the names and the nearest.
    """
    if axis == "architecture" and ":" in name:
        try:
            return imported_entry(name)
        except InputError as error:
            raise UnresolvedError([((), str(error))]) from None
    if name in BUILT_IN[axis]:
        module, _, attribute = BUILT_IN[axis][name].partition(":")
        return described(
            axis, name, getattr(importlib.import_module(module), attribute), "innbench"
        )
    try:
        return _plug_ins(axis)[0][name]
    except KeyError:
        what = axis.replace("_", " ")
        failed = [why for plug_in, why in broken(axis).items() if plug_in.startswith(f"{name} (")]
        sentence = (
            f"the plug-in of {what} {name!r} cannot be loaded: {failed[0]}"
            if failed
            else f"unknown {what} {name!r}; {allowed_and_nearest(name, names(axis))}"
        )
        raise UnresolvedError([((), sentence)]) from None
