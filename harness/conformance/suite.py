"""All checks of a candidate, in turn."""

import copy
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.bijections.box import Box
from harness.bijections.residual.log_determinant import estimates
from harness.conformance import precision, state
from harness.conformance.batch import batch_mates, batch_mates_in_float32
from harness.conformance.bounds import (
    bounds_of_aligned_parts,
    bounds_of_parts,
    bounds_on_a_box,
    global_bounds,
)
from harness.conformance.candidate import Candidate
from harness.conformance.gradients import gradients, gradients_against_differences
from harness.conformance.inverse import (
    convergence,
    inverse_jacobian,
    round_trip,
    round_trip_of_latents,
    rounding,
)
from harness.conformance.jacobians import linearise
from harness.conformance.log_det import log_det, log_det_in_training
from harness.conformance.packs import packability
from harness.conformance.parts import Check, located
from harness.conformance.rebuilding import gradients_of_rebuilding
from harness.conformance.row import Row
from harness.conformance.shapes import shapes
from harness.conformance.training import STEPS, trained

Step = tuple[str, Callable[[], list[Row]]]

AS_BUILT, PERTURBED, TRAINED = "as built", "perturbed weights", f"after {STEPS} training steps"
ALIGNED = (
    ("small aligned weights", ((-0.02, 2.4),)),
    ("large aligned weights", ((3.0, 20.0), (1.5, 5.0), (1.1, 1.5))),
)
"""Where SiLU is steepest, and where it is linear: what is left out of a product of norms shows as a
constant beyond its bound, in the first if it is a factor above 1, in the second if it is a norm.
Norms and biases; the later ones for parts that overflow with those before, as exponentials do. A
norm stays above 1, where to leave it out is to claim too little."""
SAMPLES = 6


def steps(candidate: Candidate) -> Iterator[Step]:
    """What is done, and how: a name, and a call that returns rows and never raises."""
    yield "state", _guarded("state", partial(_state, candidate))
    for name, make in (
        (AS_BUILT, candidate.fresh),
        (PERTURBED, candidate.perturbed),
        ("weights × 2", partial(candidate.perturbed, factor=2.0)),
        ("weights × 4", partial(candidate.perturbed, factor=4.0)),
    ):
        if name in (AS_BUILT, PERTURBED):
            yield from _of_weights(candidate, name, make, inverse)
        if name == AS_BUILT and not candidate.learns_inverse:
            yield from _of_weights(candidate, name, make, converges)
        if name == PERTURBED:
            for check in (
                mates,
                gradients,
                gradients_against_differences,
                gradients_in_training,
                log_det_in_training,
                float32,
                precision.bfloat16,
            ):
                yield from _of_weights(candidate, name, make, check)
            if not candidate.learns_inverse:
                yield from _of_weights(candidate, name, make, gradients_of_rebuilding)
            yield "packs", _guarded("packs", partial(_packs, candidate), PERTURBED)
        # At a zero start a part has nothing to hide yet: the network as a whole will do.
        yield from _of_weights(candidate, name, make, bounds if name != AS_BUILT else whole_bounds)
    for name, weights in ALIGNED:
        step = partial(_aligned, candidate, name, weights)
        yield f"aligned bounds, {name}", _guarded("aligned bounds", step, name)
    yield TRAINED, _guarded("training", partial(_trained, candidate))


def conformance(candidate: Candidate) -> list[Row]:
    """All rows."""
    return [row for _, step in steps(candidate) for row in step()]


def inverse(flow: Bijection, x: Tensor) -> list[Row]:
    """Round trips, log-dets and Jacobians of both directions, in float64."""
    told = shapes(flow, x)
    if not told[0].passed:  # then nothing else can be asked
        return told
    local = linearise(flow, x)
    # Latents of another seed: what the network makes of standard normal ones.
    source = torch.Generator().manual_seed(1)
    latents = torch.randn(local.y.shape, generator=source, dtype=local.y.dtype)
    with torch.no_grad():
        back, _ = flow.inverse(latents)
    there = rounding(linearise(flow, back), x.dtype)
    return [
        *told,
        *round_trip(flow, x, rounding(local, x.dtype)),
        *round_trip_of_latents(flow, latents, there),
        *log_det(flow, local),
        *inverse_jacobian(flow, local),
    ]


def converges(flow: Bijection, x: Tensor) -> list[Row]:
    """The inverse does, as a rule."""
    local = linearise(flow, x)
    with torch.no_grad():
        _, _, report = flow.inverse_with_convergence(local.y)
    return [convergence(local, report)]


def gradients_in_training(flow: Bijection, x: Tensor) -> list[Row]:
    """Gradients of training mode against differences, unless they are those of an estimate."""
    training = copy.deepcopy(flow).train()
    if estimates(training):
        return []
    found = gradients_against_differences(training, x)
    return [replace(row, check=f"{row.check}, in training mode") for row in found]


def mates(flow: Bijection, x: Tensor) -> list[Row]:
    """Batch independence."""
    local = linearise(flow, x)
    return batch_mates(flow, local) + batch_mates_in_float32(flow, local)


def float32(flow: Bijection, x: Tensor) -> list[Row]:
    """Against float64."""
    return precision.float32(flow, linearise(flow, x))


def whole_bounds(flow: Bijection, x: Tensor) -> list[Row]:
    """Global bounds at these inputs and at ten times them, and those on a box around them."""
    near_and_far = {"an input": x, "an input ten times as far": 10 * x}
    return global_bounds(flow, near_and_far) + bounds_on_a_box(flow, Box.of(x), climb=False)


def bounds(flow: Bijection, x: Tensor) -> list[Row]:
    """The same, and of each part, where bounds are closer and a search in the box costs less."""
    return whole_bounds(flow, x) + bounds_of_parts(flow, x)


def _state(candidate: Candidate) -> list[Row]:
    x = candidate.inputs(8)

    def hidden(mode: str) -> list[Row]:
        flow = candidate.fresh().train(mode == "training")
        return [row.at(f"{AS_BUILT}, {mode} mode") for row in state.hidden_state(flow, x)]

    def building() -> list[Row]:
        return [row.at(AS_BUILT) for row in state.building(candidate)]

    def reload() -> list[Row]:
        return [row.at("initialised and perturbed") for row in state.reload(candidate, x)]

    return [
        *_guarded("two calls agree", partial(hidden, "evaluation"), AS_BUILT)(),
        *_guarded("two calls agree", partial(hidden, "training"), AS_BUILT)(),
        *_guarded("only the given generator is read", building, AS_BUILT)(),
        *_guarded("state_dict round trip", reload, AS_BUILT)(),
    ]


def _packs(candidate: Candidate) -> list[Row]:
    return [row.at(PERTURBED) for row in packability(candidate, candidate.inputs(3))]


def _of_weights(
    candidate: Candidate, name: str, make: Callable[[], Bijection], check: Check
) -> Iterator[Step]:
    title = check.__name__.replace("_", " ")

    def step() -> list[Row]:
        return located(make(), candidate.inputs(SAMPLES), check, name)

    yield f"{title}, {name}", _guarded(title, step, name)


def _aligned(
    candidate: Candidate, name: str, weights: tuple[tuple[float, float], ...]
) -> list[Row]:
    flows = (candidate.aligned(size, offset) for size, offset in weights)
    return [row.at(name) for row in bounds_of_aligned_parts(flows, candidate.inputs(SAMPLES)[:2])]


def _trained(candidate: Candidate) -> list[Row]:
    flow, x, told = trained(candidate)
    x = x[:SAMPLES]
    rows = [row.at(TRAINED) for row in told]
    # A report that nothing converged excuses any error: after training it is no excuse either.
    checks = (inverse, bounds) if candidate.learns_inverse else (inverse, converges, bounds)
    for check in checks:
        rows += _guarded(check.__name__, partial(located, flow, x, check, TRAINED), TRAINED)()
    return rows


def _guarded(title: str, step: Callable[[], list[Row]], where: str = "") -> Callable[[], list[Row]]:
    """A candidate that raises fails the check, and the others go on."""

    def guarded() -> list[Row]:
        try:
            return step()
        except Exception as error:
            raised = traceback.extract_tb(error.__traceback__)[-1]
            said = str(error).strip().split("\n")[0]
            detail = f"{raised.name} raised {type(error).__name__}" + (f": {said}" if said else "")
            detail += f", at {Path(raised.filename).name}:{raised.lineno}"
            return [Row(title, float("nan"), 0.0, passed=False, detail=detail, where=where)]

    return guarded
