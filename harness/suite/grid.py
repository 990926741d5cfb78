"""The grid of a suite file, expanded into cells."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.errors import Key, Problem
from harness.registry import BUILT_IN, get, resolve
from harness.suite.backpropagation import refusal
from harness.suite.cell import Cell
from harness.suite.choices import MAX_CELLS, Placed, distinct, settle, settle_as_is
from harness.suite.document import Document
from harness.suite.model import MAX_SEED, USUAL_PROBES, Training
from harness.suite.refusals import Combo, dataset_shapes, refused
from harness.suite.rules import Rule, read_rule
from harness.suite.settings import Written, trainings, written_settings

LISTS = {"architecture": "architectures", "regularizer": "regularizers", "dataset": "datasets"}
"""The key under ``grid`` that holds the entries of an axis."""


class _Point(NamedTuple):
    combo: Combo
    seed: int


def expand(document: Document, problems: list[Problem]) -> tuple[Cell, ...]:
    """The cells of a suite file, as written: entries outermost, then seeds, then training.

    Every mistake is added to ``problems`` but those of keys and types, which
    :func:`harness.suite.structure.structural_problems` finds; with any, the cells are incomplete.
    """
    return _Expansion(document, problems).cells()


def _list(value: object) -> list[Any]:
    """What a key should hold; a wrong type is reported elsewhere."""
    return value if isinstance(value, list) else []


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


@dataclass(frozen=True)
class _Expansion:
    """One file being expanded; what is wrong is gathered on the way."""

    document: Document
    problems: list[Problem]

    def cells(self) -> tuple[Cell, ...]:
        axes = {"task": self._task()} | {axis: self._axis(axis) for axis in LISTS}
        seeds = self._seeds()
        # Of a grid with mistakes nobody can tell which rules would match nothing.
        mistaken = any(problem.key[:1] in {("grid",), ("task",)} for problem in self.problems)
        whole = not mistaken and all(axes.values()) and len(seeds) > 0
        probes = self._probes()
        content = self.document.content
        settings = written_settings(
            content.get("training"), ("training",), self.document, self.problems
        )
        excludes = self._excludes()
        overrides = list(self._overrides())
        count = math.prod(map(len, axes.values())) * max(1, len(seeds))
        if count > MAX_CELLS:
            return self._too_many(("grid",), count)
        combos = list(_combos(axes, excludes))
        points = [
            _Point(combo, seed)
            for combo, rules in combos
            for seed in seeds or range(1)
            if not any(rule.matches_seed(seed) for rule in rules)
        ]
        if missing := {axis for axis, entries in axes.items() if not entries}:
            filled = {axis: entries or _stand_ins(axis) for axis, entries in axes.items()}
            whatever = [_Point(combo, 0) for combo, rules in _combos(filled, excludes) if not rules]
            self._report_refusals(filled["dataset"], whatever, missing)
        else:
            self._report_refusals(axes["dataset"], points, missing)
        if whole:
            matching = {rule for _, rules in combos for rule in rules}
            active = {rule for rule in matching if any(map(rule.matches_seed, seeds))}
            self._report_idle(excludes, active, points, overrides)
        return self._cells(points, settings, overrides, probes)

    def _add(self, key: Key, message: str) -> None:
        self.problems.append(self.document.problem(key, message))

    def _too_many(self, key: Key, count: int) -> tuple[()]:
        self._add(key, f"{count} cells or more; a suite has at most {MAX_CELLS}: split it")
        return ()

    def _task(self) -> list[Placed]:
        written = self.document.content.get("task", "density")
        found = settle("task", written, ("task",), self.document, self.problems)
        return distinct(found, self.document, self.problems)

    def _axis(self, axis: str) -> list[Placed]:
        name = LISTS[axis]
        default = ["none"] if axis == "regularizer" else []
        found: list[Placed] = []
        for i, written in enumerate(_list(self._grid.get(name, default))):
            found += settle(axis, written, ("grid", name, i), self.document, self.problems)
        return distinct(found, self.document, self.problems)

    @property
    def _grid(self) -> dict[str, Any]:
        return _mapping(self.document.content.get("grid"))

    def _seeds(self) -> Sequence[int]:
        written = self._grid.get("seeds", 1)
        if type(written) is int:
            return range(written) if 1 <= written <= MAX_SEED else ()
        seeds: set[int] = set()
        for i, seed in enumerate(_list(written)):
            if type(seed) is not int:
                continue
            if seed in seeds:
                message = f"the seed {seed} is given twice: every cell of it would be there twice"
                self._add(("grid", "seeds", i), message)
            seeds.add(seed)
        return tuple(dict.fromkeys(seed for seed in _list(written) if type(seed) is int))

    def _probes(self) -> tuple[Placed, ...]:
        written = self.document.content.get("probes", list(USUAL_PROBES))
        found: dict[str, Placed] = {}
        for i, probe in enumerate(_list(written)):
            for one in settle_as_is("probe", probe, ("probes", i), self.document, self.problems):
                name = one.choice.name
                if name in found:
                    line = self.document.line(found[name].key)
                    message = f"the probe {name!r} is already on line {line}; a cell has it once"
                    self._add(one.key, message)
                else:
                    found[name] = one
        return tuple(found.values())

    def _excludes(self) -> list[Rule]:
        written = enumerate(_list(self.document.content.get("exclude")))
        rules = [read_rule(r, ("exclude", i), self.document, self.problems) for i, r in written]
        return [rule for rule in rules if rule]

    def _overrides(self) -> Iterator[tuple[Rule, Written]]:
        for i, written in enumerate(_list(self.document.content.get("overrides"))):
            override = _mapping(written)
            key = ("overrides", i)
            match, training = override.get("match"), override.get("training")
            rule = read_rule(match, (*key, "match"), self.document, self.problems)
            settings = written_settings(training, (*key, "training"), self.document, self.problems)
            if rule:
                yield rule, settings

    def _report_refusals(
        self, datasets: list[Placed], points: list[_Point], missing: set[str]
    ) -> None:
        shapes = dataset_shapes(datasets, self.document, self.problems)
        once = {id(point.combo): point.combo for point in points}.values()  # not once per seed
        known = [
            (combo, shapes[id(combo["dataset"])])
            for combo in once
            if id(combo["dataset"]) in shapes
        ]
        self.problems.extend(refused(known, missing, self.document))

    def _report_idle(
        self,
        excludes: list[Rule],
        active: set[Rule],
        points: list[_Point],
        overrides: list[tuple[Rule, Written]],
    ) -> None:
        """Rules that match nothing: a slip of the pen that would otherwise pass in silence."""
        for rule in excludes:
            if rule not in active:
                self._add(rule.key, "matches no cell of the grid")
        if not points:
            self._add(("exclude",), "leaves no cell of the grid")
            return
        for rule, _ in overrides:
            if not any(_matches(rule, point) for point in points):
                self._add(rule.key, "matches no cell that is left of the grid")

    def _cells(
        self,
        points: list[_Point],
        settings: Written,
        overrides: list[tuple[Rule, Written]],
        probes: tuple[Placed, ...],
    ) -> tuple[Cell, ...]:
        applied: dict[tuple[int, ...], tuple[Training, ...]] = {}
        cells: list[Cell] = []
        told: dict[tuple[Key, str], None] = {}
        measured = tuple(probe.choice for probe in probes)
        for point in points:
            which = tuple(i for i, (rule, _) in enumerate(overrides) if _matches(rule, point))
            if which not in applied:
                merged = dict(settings)
                for i in which:
                    merged |= overrides[i][1]
                count = math.prod(map(len, merged.values()))
                if count > MAX_CELLS:
                    return self._too_many(("training",), count)
                applied[which] = trainings(merged)
            if len(cells) + len(applied[which]) > MAX_CELLS:
                return self._too_many(("grid",), len(cells) + len(applied[which]))
            chosen = {axis: one.choice for axis, one in point.combo.items()}
            made = [
                Cell(**chosen, probes=measured, training=training, seed=point.seed)
                for training in applied[which]
            ]
            cells += made
            last = [i for i in which if "backpropagation" in overrides[i][1]][-1:]
            key: Key = ("overrides", *last, "training") if last else ("training",)
            told |= {((*key, "backpropagation"), why): None for why in map(refusal, made) if why}
        for key, why in told:
            self._add(key, why)
        return tuple(cells)


def _stand_ins(axis: str) -> list[Placed]:
    """What may have been meant where an axis has no entry that can be used: any, as it comes."""
    able = [
        name
        for name in BUILT_IN[axis]
        if not any(f.is_required() for f in get(axis, name).parameters.model_fields.values())
    ]
    return [Placed(resolve(axis, name), ("grid", LISTS.get(axis, axis))) for name in sorted(able)]


def _combos(axes: dict[str, list[Placed]], rules: list[Rule]) -> Iterator[tuple[Combo, list[Rule]]]:
    """Every combination of entries, with the rules that match its entries."""
    matching = {  # once per entry, not once per combination
        id(one): {rule for rule in rules if rule.matches_choice(axis, one.choice)}
        for axis, entries in axes.items()
        for one in entries
    }
    for entries in itertools.product(*axes.values()):
        matched = set.intersection(*(matching[id(one)] for one in entries))
        yield dict(zip(axes, entries, strict=True)), list(matched)


def _matches(rule: Rule, point: _Point) -> bool:
    return rule.matches_seed(point.seed) and all(
        rule.matches_choice(axis, one.choice) for axis, one in point.combo.items()
    )
