"""Whether gradients by the parameters can be trusted."""

import functools
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TypeVar

import torch
from pydantic import Field
from torch import Tensor

from harness.backpropagation.rebuilding import recomputed_fraction
from harness.backpropagation.refusal import CannotRebuildError
from harness.bijections.base import Bijection
from harness.bijections.given import in_precision
from harness.bijections.headed import flow_of
from harness.bijections.path import layers
from harness.gradients.comparison import angle, relative_error
from harness.gradients.functions import REFERENCE, WAYS, Gradient, Loss, WayName, of_samples
from harness.precisions import (
    PRECISIONS,
    USUAL,
    PrecisionName,
    UnsupportedError,
    WantedPrecisions,
)
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.record import LayerMeasurement, Measurement
from harness.registry import entry

AT_ONCE = 2**24
"""Most entries of single samples' gradients that are held at a time, of each kind."""


class Group(NamedTuple):
    """The parameters of one layer.

    Attributes:
        place: The layer's, from the input to the latent.
        block: What it is.
        names: Of its parameters, in the network.
    """

    place: int
    block: str
    names: tuple[str, ...]


def groups(network: Bijection) -> list[Group]:
    """The layers that have parameters; one that several layers share is the first one's."""
    names = {id(p): name for name, p in network.named_parameters()}
    found = []
    for layer in layers(network):
        own = [names.pop(id(p), None) for p in layer.bijection.parameters()]
        if any(own):
            kept = tuple(name for name in own if name is not None)
            found.append(Group(layer.place, layer.block, kept))
    return found


Answer = TypeVar("Answer")
Batch = tuple[Tensor, ...]
"""Inputs, then their targets where the loss takes them."""
Named = tuple[WayName, PrecisionName]
"""A way to the gradient, in a precision."""
TRUTH: Named = (REFERENCE, "float64")


class _Kind(NamedTuple):
    """Which gradient is measured, and what it is held against."""

    tested: Named
    against: Named

    @property
    def metric(self) -> str:
        """How its metrics begin."""
        way, other = self.tested[0], self.against[0]
        return way if self.against == TRUTH else f"{way}_against_{other}"


def _kinds(ways: Sequence[WayName], precision: PrecisionName) -> list[_Kind]:
    """Every way against the reference, every other one also against autograd's own rounding."""
    found = [_Kind((way, precision), TRUTH) for way in ways]
    if precision != "float64":
        others = [way for way in ways if way != REFERENCE]
        found += [_Kind((way, precision), (REFERENCE, precision)) for way in others]
    return found


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    """There and back of each sample alone and in its batch, each way and precision.

    Where activations are rebuilt, the way back has the inverse and a second way there besides. What
    the guard says takes one more such gradient.
    """
    samples = parameters["points"] + parameters["batches"] * parameters["batch_size"]
    precisions, ways = {*parameters["precisions"]}, {*parameters["ways"]}
    plain = 2 * len({*precisions, "float64"})
    rebuilt = 4 * len(precisions) * (len(ways - {REFERENCE}) + ("guarded" in ways))
    return int(sets * samples * (plain + rebuilt))


@entry(version=1, cost=_cost)
def gradient_fidelity(
    *,
    points: Annotated[int, Field(ge=1)] = 16,
    batches: Annotated[int, Field(ge=1)] = 4,
    batch_size: Annotated[int, Field(ge=1)] = 64,
    precisions: WantedPrecisions = USUAL,
    ways: Annotated[list[WayName], Field(min_length=1)] = [REFERENCE],  # noqa: B006 - never changed
) -> Probe:
    """The gradient of the loss by all parameters, against autograd in float64.

    Of every one of ``ways`` to a gradient: ``autograd``, ``memory_saving``, ``guarded``
    (``harness/backpropagation``). Of ``points`` single samples (``autograd_sample_…``) and of
    ``batches`` batches (``autograd_batch_…``):
    ``angle_degrees`` and ``relative_error``, ``‖g - r‖ / ‖r‖``, as median, 90 % quantile and worst
    over those that are finite, ``_non_finite_fraction`` of those of which a gradient is not, for
    one such sample makes its whole batch useless, and in view ``layers`` the worst of each layer's
    own parameters. The parameters are the flow's, with the head in its place where there is one;
    where the loss takes targets, sets without them are ``unsupported``. Any other way than autograd
    is also held against autograd in the same precision (``…_against_autograd_…``), which rounding
    does not tell apart. Of autograd in float64 there is the fraction alone: where the reference
    itself is lost. Of the guarded way there is also ``guarded_batch_recomputed_fraction``: in how
    many of its segments of layers the inverse could not be trusted. A network whose activations
    cannot be rebuilt has ``unsupported`` there. A network without parameters has no gradient, and
    nothing is measured. Cost: two passes a sample, once alone and once in its batch, in every
    precision and in float64; four by the other ways, which take single samples one by one.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        parts = await subject.ask(groups, "float64")
        size = await subject.ask(_size, "float64")
        if not size:
            return []
        of_each = {way: functools.partial(_of_samples, way, subject.loss) for way in WAYS}
        of_batch = {way: functools.partial(_of_batch, way, subject.loss) for way in WAYS}
        kinds = [kind for precision in precisions for kind in _kinds(ways, precision)]
        # Autograd is there to be held against, whether it is asked for or not.
        wanted = dict.fromkeys((TRUTH, *(one for kind in kinds for one in kind)))
        sets = subject.inputs.for_loss()
        single, of_set = _first(sets, points)
        chunks = _split(single, max(1, AT_ONCE // size))
        whole, of_batches = _batches(sets, batches, batch_size)
        without = {name: x for name, x in subject.inputs.sets.items() if name not in sets}
        measured: list[Measurement] = []
        for what, asked, given, places, most in (
            ("sample", of_each, chunks, of_set, points),
            ("batch", of_batch, whole, of_batches, batches),
        ):
            rows: dict[_Kind, list[_Rows | None]] = {kind: [] for kind in kinds}
            for batch in given:
                found = {
                    (way, precision): await _answered(subject, asked[way], precision, *batch)
                    for way, precision in wanted
                }
                for kind, of_kind in rows.items():
                    of_kind.append(_compared(found[kind.tested], found[kind.against], parts))
            for kind, of_kind in rows.items():
                metric, table = f"{kind.metric}_{what}", _joined(of_kind)
                for name, place in places.items():
                    precision = kind.tested[1]
                    summary = Summary("gradient_fidelity", name, precision, subject.inputs.step)
                    if table is None:
                        count = place.stop - place.start
                        measured.append(
                            summary.unsupported(f"{metric}_angle_degrees_median", count)
                        )
                        continue
                    ours = _Rows(*(column[place] for column in table))
                    measured.append(ours.lost(metric, 0, summary))
                    if kind.tested != kind.against:
                        measured += ours.apart(metric, parts, summary)
                measured += [
                    Summary(
                        "gradient_fidelity", name, kind.tested[1], subject.inputs.step
                    ).unsupported(f"{metric}_angle_degrees_median", min(most, len(x)))
                    for name, x in without.items()
                ]
        if "guarded" in ways:
            for precision in precisions:
                measured += await _guarded(subject, precision, whole, of_batches)
        return measured

    return probe


def _size(network: Bijection) -> int:
    return sum(p.numel() for p in network.parameters())


def _of_samples(way: WayName, loss: Loss, network: Bijection, *batch: Tensor) -> Gradient:
    return of_samples(WAYS[way], network, loss, *batch)


def _of_batch(way: WayName, loss: Loss, network: Bijection, *batch: Tensor) -> Gradient:
    found = WAYS[way].of_batch(network, loss, *batch)
    return {name: one.unsqueeze(0) for name, one in found.items()}


async def _guarded(
    subject: Subject, precision: PrecisionName, batches: Sequence[Batch], places: dict[str, slice]
) -> list[Measurement]:
    """How often the guard did not trust an inverse."""
    metric, measured = "guarded_batch_recomputed_fraction", []
    found = [await _answered(subject, _recomputed, precision, x) for x, *_ in batches]
    for name, place in places.items():
        summary = Summary("gradient_fidelity", name, precision, subject.inputs.step)
        fractions = [float(one) for one in found[place] if one is not None]
        count = place.stop - place.start
        if len(fractions) < count:
            measured.append(summary.unsupported(metric, count))
        else:
            measured.append(summary.one(metric, statistics.fmean(fractions), count))
    return measured


def _recomputed(network: Bijection, x: Tensor) -> Tensor:
    return torch.tensor([recomputed_fraction(flow_of(network), x)])


async def _answered(
    subject: Subject, function: Callable[..., Answer], precision: PrecisionName, *batch: Tensor
) -> Answer | None:
    given = in_precision(PRECISIONS[precision].dtype, batch)
    try:
        return await subject.ask(function, precision, *given, with_head=True)
    except (UnsupportedError, CannotRebuildError):
        return None


class _Rows(NamedTuple):
    """Of N gradients; the first column is of all parameters, the others of each group's.

    Attributes:
        degrees: The angle, ``(N, 1 + G)``.
        error: The relative error, likewise.
        finite: Whether the measured gradient is, likewise.
    """

    degrees: Tensor
    error: Tensor
    finite: Tensor

    def lost(self, metric: str, column: int, summary: Summary) -> Measurement:
        """The fraction of gradients that are not finite."""
        fraction = 1 - float(self.finite[:, column].double().mean())
        return summary.one(f"{metric}_non_finite_fraction", fraction, len(self.finite))

    def apart(self, metric: str, parts: list[Group], summary: Summary) -> list[Measurement]:
        """How far they are from the others: of all parameters, and the worst of each group."""
        measured: list[Measurement] = []
        numbers = {"angle_degrees": self.degrees, "relative_error": self.error}
        for name, values in numbers.items():
            # What is lost is counted of the gradients themselves.
            measured += summary.errors(f"{metric}_{name}", values[:, 0])[:-1]
        for column, part in enumerate(parts, 1):
            of_part = [self.lost(metric, column, summary)]
            for name, values in numbers.items():
                *_, worst, _ = summary.errors(f"{metric}_{name}", values[:, column])
                of_part.append(worst)
            measured += [LayerMeasurement.on(one, part.place, part.block) for one in of_part]
        return measured


def _joined(rows: list[_Rows | None]) -> _Rows | None:
    there = [one for one in rows if one is not None]
    if len(there) < len(rows):
        return None
    return _Rows(*(torch.cat(column) for column in zip(*there, strict=True)))


def _first(sets: Mapping[str, Batch], points: int) -> tuple[Batch, dict[str, slice]]:
    """The first ``points`` samples of every set as one batch, and where in it each set is."""
    places, begin = {}, 0
    for name, (x, *_) in sets.items():
        places[name] = slice(begin, begin + min(points, len(x)))
        begin = places[name].stop
    columns = zip(*sets.values(), strict=True)
    return tuple(torch.cat([one[:points] for one in column]) for column in columns), places


def _split(batch: Batch, size: int) -> list[Batch]:
    return list(zip(*(torch.split(column, size) for column in batch), strict=True))


def _batches(
    sets: Mapping[str, Batch], batches: int, batch_size: int
) -> tuple[list[Batch], dict[str, slice]]:
    """Batches of every set, and which of them are a set's."""
    found: list[Batch] = []
    places = {}
    for name, batch in sets.items():
        begin = len(found)
        found += _split(tuple(one[: batches * batch_size] for one in batch), batch_size)
        places[name] = slice(begin, len(found))
    return found, places


def _compared(u: Gradient | None, v: Gradient | None, parts: list[Group]) -> _Rows | None:
    if u is None or v is None:
        return None
    # Of the reference itself no more is asked than whether it is lost.
    columns = [tuple(u)] if u is v else [tuple(u), *(part.names for part in parts)]
    pairs = [(_flat(u, names), _flat(v, names)) for names in columns]
    return _Rows(
        torch.stack([angle(*pair).rad2deg() for pair in pairs], 1),
        torch.stack([relative_error(*pair) for pair in pairs], 1),
        torch.stack([one.isfinite().all(1) for one, _ in pairs], 1),
    )


def _flat(gradient: Gradient, names: tuple[str, ...]) -> Tensor:
    # Not flatten(1): a parameter may be a single number.
    found = (gradient[name] for name in names)
    return torch.cat([one.reshape(len(one), -1).double() for one in found], 1)
