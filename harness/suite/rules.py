"""Exclude rules and the ``match`` of overrides: which cells does a rule mean?

Every key that is given must match, and a list means any of its items. An entry is matched by
its name, and by those of its parameters that the rule gives. A preset gives all parameters, with
the defaults where it says nothing; what the rule says beside it comes first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.errors import Key, Problem, allowed_and_nearest
from harness.registry import (
    PRESET,
    Choice,
    Entry,
    Nested,
    UnresolvedError,
    by_name,
    get,
    resolve,
    written_out,
)
from harness.suite.document import Document
from harness.suite.structure import shown

AXES = ("task", "architecture", "regularizer", "dataset")


@dataclass(frozen=True, eq=False)
class Rule:
    """A rule without mistakes.

    Attributes:
        key: Where it stands.
        patterns: Per axis given, what may match there.
        seeds: The seeds that match; ``None`` means all.
    """

    key: Key
    patterns: dict[str, list[Any]]
    seeds: frozenset[int] | None

    def matches_choice(self, axis: str, choice: Choice) -> bool:
        """Whether an entry of an axis is meant."""
        return axis not in self.patterns or _any_of(axis, self.patterns[axis], choice)

    def matches_seed(self, seed: int) -> bool:
        """Whether a seed is meant."""
        return self.seeds is None or seed in self.seeds


def read_rule(
    written: object, key: Key, document: Document, problems: list[Problem]
) -> Rule | None:
    """A rule, or ``None`` with what is wrong with it added to ``problems``.

    Types that the model of the file already refuses are not reported a second time.
    """
    if not isinstance(written, Mapping):
        return None
    if not written:
        message = "is empty and would match every cell; give one key at least"
        problems.append(document.problem(key, message))
        return None
    before = len(problems)
    patterns = {}
    for axis in AXES:
        if axis in written:
            patterns[axis] = _listed(written[axis])
            _check_any(axis, written[axis], (*key, axis), document, problems)
    seeds = _listed(written["seed"]) if "seed" in written else None
    if seeds is not None and not all(type(seed) is int for seed in seeds):
        return None
    if len(problems) > before or not set(written) <= {*AXES, "seed"}:
        return None
    return Rule(key, patterns, None if seeds is None else frozenset(seeds))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _check_any(
    axis: str, value: object, key: Key, document: Document, problems: list[Problem]
) -> None:
    if value == []:
        problems.append(document.problem(key, "should not be empty: it matches nothing"))
    for i, pattern in enumerate(_listed(value)):
        _check(axis, pattern, (*key, i) if isinstance(value, list) else key, document, problems)


def _check(
    axis: str, pattern: object, key: Key, document: Document, problems: list[Problem]
) -> None:
    pattern = by_name(axis, pattern)
    name = pattern.get("name") if isinstance(pattern, Mapping) else pattern
    if not isinstance(name, str):
        what = axis.replace("_", " ")
        message = f"expected the name of a {what}, or a mapping with a 'name'; got {shown(pattern)}"
        problems.append(document.problem(key, message))
        return
    try:
        found = get(axis, name)
    except UnresolvedError as error:
        problems.append(document.problem(key, str(error)))
        return
    fields = found.parameters.model_fields
    for parameter, value in pattern.items() if isinstance(pattern, Mapping) else ():
        if parameter == "name":
            continue
        if parameter == PRESET:
            _check_presets(found, value, (*key, PRESET), document, problems)
        elif parameter not in fields:
            hint = allowed_and_nearest(parameter, fields)
            message = f"{axis.replace('_', ' ')} {name!r} has no parameter {parameter!r}; {hint}"
            problems.append(document.problem((*key, parameter), message, of_key=True))
        elif (inner := nested_axis(axis, name, parameter)) is not None:
            _check_any(inner, value, (*key, parameter), document, problems)


def _check_presets(
    found: Entry, value: object, key: Key, document: Document, problems: list[Problem]
) -> None:
    if value == []:
        problems.append(document.problem(key, "should not be empty: it matches nothing"))
    for i, preset in enumerate(_listed(value)):
        try:
            written_out(found, {PRESET: preset})
        except UnresolvedError as error:
            place = (*key, i) if isinstance(value, list) else key
            message = "; ".join(sentence for _, sentence in error.problems)
            problems.append(document.problem(place, message))


def nested_axis(axis: str, name: str, parameter: str) -> str | None:
    """The axis whose entries a parameter takes; ``None`` for a plain parameter."""
    metadata = get(axis, name).parameters.model_fields[parameter].metadata
    return next((mark.axis for mark in metadata if isinstance(mark, Nested)), None)


def _any_of(axis: str, patterns: list[Any], choice: Choice) -> bool:
    return any(_matches(axis, by_name(axis, pattern), choice) for pattern in patterns)


def _matches(axis: str, pattern: Any, choice: Choice) -> bool:
    if isinstance(pattern, str):
        return pattern == choice.name
    return (
        pattern["name"] == choice.name
        and all(
            _parameter_matches(axis, choice, parameter, value)
            for parameter, value in pattern.items()
            if parameter not in ("name", PRESET)
        )
        and (
            PRESET not in pattern
            or any(_is_preset(axis, choice, one, pattern) for one in _listed(pattern[PRESET]))
        )
    )


def _is_preset(axis: str, choice: Choice, preset: str, besides: Mapping[str, Any]) -> bool:
    """Whether a choice is that preset in all that the rule does not say itself."""
    found = get(axis, choice.name)
    own = {
        parameter: value
        for parameter, value in choice.parameters.items()
        if parameter in besides
        or (
            found.parameters.model_fields[parameter].is_required()
            and parameter not in found.presets[preset]
        )
    }
    try:
        meant = resolve(axis, {"name": choice.name, PRESET: preset, **own})
    except UnresolvedError:  # another package's, with parameters that its entry does not take
        return False
    return meant == choice


def _parameter_matches(axis: str, choice: Choice, parameter: str, value: Any) -> bool:
    settled = choice.parameters[parameter]
    inner = nested_axis(axis, choice.name, parameter)
    if inner is not None:
        return _any_of(inner, _listed(value), Choice.model_validate(settled))
    return any(_same(item, settled) for item in _listed(value))


def _same(given: object, settled: object) -> bool:
    """Equality in which 1 is 1.0 but not true."""
    return isinstance(given, bool) == isinstance(settled, bool) and given == settled
