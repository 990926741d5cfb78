"""Where in the network the inverse breaks."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from harness.bijections.base import Bijection, BiLipschitz
from harness.bijections.path import layers
from harness.precisions import (
    PRECISIONS,
    USUAL,
    PrecisionName,
    UnsupportedError,
    WantedPrecisions,
)
from harness.probes.first_wrong import first_wrong, most_often
from harness.probes.local import STEPS, Local, local_by_products, local_by_svd
from harness.probes.subject import Probe, Subject
from harness.probes.summary import Summary
from harness.probes.walk import Walk, there_and_back
from harness.record import LayerMeasurement, Measurement
from harness.registry import entry


def _cost(parameters: Mapping[str, Any], dimension: int, sets: int) -> int:
    inputs = parameters["points"] * (sets if parameters["off_distribution"] else 1)
    exact = dimension <= parameters["exact_up_to"]
    products = dimension if exact else 4 * STEPS
    return int(inputs * (1 + 2 * products + 3 * len(parameters["precisions"])))


@entry(version=1, cost=_cost)
def layer_profile(
    *,
    points: Annotated[int, Field(ge=1)] = 16,
    precisions: WantedPrecisions = USUAL,
    threshold: Annotated[float, Field(gt=0)] = 1e-2,
    off_distribution: bool = True,
    exact_up_to: Annotated[int, Field(ge=0)] = 256,
) -> Probe:
    """Of each layer, its Lipschitz constants, scales and reconstruction errors, along the path.

    With ``a_0 = x`` and ``a_{k+1} = F_k(a_k)``; back ``b_L = a_L`` and ``b_k = F_k⁻¹(b_{k+1})``.
    Of layer k, over the inputs for which the number is known:

    - ``forward_worst`` and ``inverse_worst``: ``max σ_max(J_k(a_k))`` and ``max 1/σ_min(J_k(a_k))``
      in float64: exact up to ``exact_up_to`` dimensions, and above by products with the Jacobians
      of the layer and of its inverse, to about a thousandth. ``not_converged`` where these did not
      get there, or where float64 does not resolve some σ_min beside its σ_max.
      ``jacobian_non_finite_fraction``: of how many inputs there are none. On inputs ``none``:
      ``bound_forward`` and ``bound_inverse`` from the weights, for all inputs.
    - ``scale_smallest`` and ``scale_largest``, in float64: of the numbers by which the block
      multiplies, such as an affine coupling's ``g(h)`` or the singular values of W; not there for
      a block that has none.
    - in each precision ``round_trip_l2_*``: ``‖F_k⁻¹(a_{k+1}) - a_k‖₂``, of the layer alone, over
      the inputs whose ``a_k`` is finite, and ``accumulated_l2_*``: ``‖b_k - a_k‖₂``, of the whole
      way back down to what the layer was given; each as median and worst of the finite ones, and
      ``*_non_finite_fraction``. ``output_non_finite_fraction``: whose ``a_{k+1}`` is not finite.
    - in each precision ``first_wrong_fraction``: of how many inputs it is the first wrong layer,
      by :func:`~harness.probes.first_wrong.first_wrong`: the first on the way back with
      ``‖b_k - a_k‖ > threshold · ‖a_k‖``.

    Of the network, in each precision: ``first_wrong_layer``, the place of the layer that is the
    first wrong one for the most inputs (the nearest to the latent of several), -1 if none is, and
    ``wrong_fraction``, of how many inputs some layer is. A precision that the network cannot run
    in leaves ``first_wrong_layer`` with the status ``unsupported``.

    On test inputs and, unless ``off_distribution`` is false, on every other set, up to ``points``
    of each. Cost of an input: D products with the Jacobian (above ``exact_up_to``, up to 160) and
    an SVD of each layer that is not affine, and three passes a precision.
    """

    async def probe(subject: Subject, generator: torch.Generator) -> list[Measurement]:
        x, places = subject.inputs.first(points)
        if not off_distribution:
            places = {"test": places["test"]}
            x = x[places["test"]]
            places = {"test": slice(0, len(x))}
        blocks = await subject.ask(_blocks, "float64")
        profile = _Profile(subject.inputs.step, [block.name for block in blocks], threshold)
        measured = [*profile.bounds(blocks)]
        dimension = x[0].numel()
        start = torch.randn(len(x), dimension, generator=generator, dtype=torch.float64)
        method = local_by_svd if dimension <= exact_up_to else local_by_products
        found = await subject.ask(method, "float64", x.double(), start.to(x.device))
        for name, place in places.items():
            measured += profile.local(name, found.part(place))
        for precision in precisions:
            try:
                walk = await subject.ask(
                    there_and_back, precision, x.to(PRECISIONS[precision].dtype)
                )
            except UnsupportedError:
                for name, place in places.items():
                    summary = profile.summary(name, precision)
                    count = place.stop - place.start
                    measured.append(summary.unsupported("first_wrong_layer", count))
                continue
            for name, place in places.items():
                measured += profile.walk(name, precision, Walk(*(one[place] for one in walk)))
        return measured

    return probe


class Block(NamedTuple):
    """What is known of a layer without an input."""

    name: str
    bounds: BiLipschitz


def _blocks(network: Bijection) -> list[Block]:
    return [Block(layer.block, layer.bijection.bounds()) for layer in layers(network)]


class _Profile:
    """Summaries of a network's layers as measurements.

    Args:
        step: After how many training steps.
        blocks: Names of the layers.
        threshold: From which relative error on a layer is wrong.
    """

    def __init__(self, step: int, blocks: list[str], threshold: float) -> None:
        self._step, self._blocks, self._threshold = step, blocks, threshold

    def summary(self, inputs: str, precision: PrecisionName) -> Summary:
        return Summary("layer_profile", inputs, precision, self._step)

    def bounds(self, blocks: list[Block]) -> Iterator[Measurement]:
        summary = self.summary("none", "float64")
        for layer, block in enumerate(blocks):
            yield self._on(layer, summary.one("bound_forward", block.bounds.forward, 0))
            yield self._on(layer, summary.one("bound_inverse", block.bounds.inverse, 0))

    def local(self, inputs: str, found: Local) -> Iterator[Measurement]:
        """Of one set of inputs."""
        summary = self.summary(inputs, "float64")
        count = len(found.has_scales)
        for layer in range(len(self._blocks)):
            largest, smallest, finite, *known = (one[:, layer] for one in found.extremes)
            ended, resolved = (replace(summary, converged=bool(one[finite].all())) for one in known)
            measured = [
                ended.one("forward_worst", _greatest(largest), count),
                resolved.one("inverse_worst", _greatest(1 / smallest), count),
                summary.one("jacobian_non_finite_fraction", _share(~finite), count),
            ]
            if found.has_scales[:, layer].any():
                least, greatest = found.least_scale[:, layer], found.greatest_scale[:, layer]
                measured += [
                    summary.one("scale_smallest", -_greatest(-least), count),
                    summary.one("scale_largest", _greatest(greatest), count),
                ]
            yield from (self._on(layer, one) for one in measured)

    def walk(self, inputs: str, precision: PrecisionName, walk: Walk) -> Iterator[Measurement]:
        """Of one set of inputs in one precision."""
        count = len(walk.size)
        wrong = first_wrong(walk, self._threshold)
        summary = self.summary(inputs, precision)
        for layer in range(len(self._blocks)):
            reached = walk.size[:, layer].isfinite()
            measured = [
                *self._errors("round_trip", summary, walk.round_trip[reached, layer],
                              walk.round_trip_converged[reached, layer]),
                *self._errors("accumulated", summary, walk.accumulated[:, layer],
                              walk.accumulated_converged[:, layer]),
                summary.one("output_non_finite_fraction", _share(~walk.finite[:, layer]), count),
                summary.one("first_wrong_fraction", _share(wrong == layer), count),
            ]  # fmt: skip
            yield from (self._on(layer, one) for one in measured)
        yield summary.one("first_wrong_layer", most_often(wrong), count)
        yield summary.one("wrong_fraction", _share(wrong >= 0), count)

    @staticmethod
    def _errors(
        name: str, summary: Summary, errors: Tensor, converged: Tensor
    ) -> list[Measurement]:
        finite = errors[errors.isfinite()]
        median = float(finite.quantile(0.5)) if len(finite) else float("nan")
        lost = _share(~errors.isfinite())
        solved = replace(summary, converged=bool(converged.all()))
        return [
            solved.one(f"{name}_l2_median", median, len(errors)),
            solved.one(f"{name}_l2_worst_finite", _greatest(finite), len(errors)),
            summary.one(f"{name}_non_finite_fraction", lost, len(errors)),
        ]

    def _on(self, layer: int, measurement: Measurement) -> Measurement:
        return LayerMeasurement.on(measurement, layer, self._blocks[layer])


def _greatest(values: Tensor) -> float:
    """Of those that are known, inf included; NaN where none is."""
    known = values[~values.isnan()]
    return float(known.max()) if len(known) else float("nan")


def _share(flags: Tensor) -> float:
    """Of how many it is true; NaN of none."""
    return float(flags.double().mean()) if len(flags) else float("nan")
