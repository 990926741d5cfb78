"""The probe of gradients, on networks whose gradients are known."""

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.permutation import Permutation
from harness.gradients.functions import WAYS, Loss, Way, autograd
from harness.record import LayerMeasurement, Measurement, NumberStatus
from harness.seeding import generator
from tests.backpropagation.networks import Forgetful
from tests.networks import gaussian
from tests.probing import inputs_in_a_cube, probed

SETTINGS = {"points": 8, "batches": 4, "batch_size": 3}


def measure(
    flow: Bijection, sets: dict[str, Tensor], **settings: object
) -> tuple[dict[tuple[str, str, str], Measurement], list[LayerMeasurement]]:
    choice = registry.resolve("probe", {"name": "gradient_fidelity", **SETTINGS, **settings})
    found = probed(choice, flow, inputs_in_a_cube(sets, step=7), generator(0, "probe"))
    layers = [m for m in found if isinstance(m, LayerMeasurement)]
    whole = [m for m in found if not isinstance(m, LayerMeasurement)]
    keyed = {(m.metric, m.inputs, m.precision): m for m in whole}
    assert len(keyed) == len(whole)
    return keyed, layers


def flow_of_three() -> Chain:
    """Two layers with parameters, the places 0 and 2."""
    norms = ActNorm(3), ActNorm(3)
    with torch.no_grad():
        norms[0].log_scale.copy_(torch.tensor([0.3, -0.7, 0.2]))
        norms[1].log_scale.copy_(torch.tensor([-0.4, 0.6, 0.1]))
    return Chain([norms[0], Permutation(torch.tensor([2, 0, 1])), norms[1]])


def test_one_sample_that_overflows_takes_its_batch_with_it() -> None:
    x = gaussian(16, (3,)).float()
    x[5, 1] = 3e20  # its square is beyond float32, and far from float64's end
    found, layers = measure(flow_of_three(), {"test": x, "far": gaussian(16, (3,)).float()})
    value = {key: m.value for key, m in found.items()}
    assert value["autograd_sample_non_finite_fraction", "test", "float32"] == 1 / 8
    assert value["autograd_batch_non_finite_fraction", "test", "float32"] == 1 / 4
    assert value["autograd_sample_non_finite_fraction", "test", "float64"] == 0
    assert value["autograd_batch_non_finite_fraction", "test", "float64"] == 0
    assert value["autograd_batch_non_finite_fraction", "far", "float32"] == 0
    assert found["autograd_sample_angle_degrees_median", "test", "float32"].count == 8
    assert found["autograd_batch_angle_degrees_median", "test", "float32"].count == 4
    for what in ("sample", "batch"):
        worst = value[f"autograd_{what}_angle_degrees_worst_finite", "test", "float32"]
        assert 0 < worst < 1e-4
        assert 0 < value[f"autograd_{what}_relative_error_worst_finite", "test", "float32"] < 1e-6
    lost = [m for m in layers if m.metric.endswith("batch_non_finite_fraction")]
    assert {(m.layer, m.inputs, m.value) for m in lost} == {
        (place, name, fraction)
        for place in (0, 2)
        for name, fraction in (("test", 1 / 4), ("far", 0))
    }


def _turned(flow: Bijection, loss: Loss, x: Tensor) -> Mapping[str, Tensor]:
    """The gradient turned by 1e-6 of a radian, and then twice as long."""
    found = autograd(flow, loss, x)
    flat = torch.cat([one.flatten() for one in found.values()]).double()
    other = torch.arange(1.0, len(flat) + 1, dtype=torch.float64)
    other -= (other @ flat) / (flat @ flat) * flat
    other *= flat.norm() / other.norm()
    turned = 2 * (math.cos(1e-6) * flat + math.sin(1e-6) * other)
    parts = torch.split(turned, [one.numel() for one in found.values()])
    return {n: p.view_as(found[n]) for n, p in zip(found, parts, strict=True)}


def _negative_in_the_last(flow: Bijection, loss: Loss, x: Tensor) -> Mapping[str, Tensor]:
    found = autograd(flow, loss, x)
    return {name: -one if name.startswith("parts.2") else one for name, one in found.items()}


def test_another_way_is_held_against_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "guarded", Way(_turned))
    found, _ = measure(flow_of_three(), {"test": gaussian(16, (3,)).float()}, ways=["guarded"])
    for what in ("sample", "batch"):
        exact = found[f"guarded_{what}_angle_degrees_median", "test", "float64"].value
        assert exact == pytest.approx(math.degrees(1e-6), rel=1e-6)
        against = f"guarded_against_autograd_{what}"
        same = found[f"{against}_angle_degrees_worst_finite", "test", "float32"].value
        assert same == pytest.approx(math.degrees(1e-6), rel=1e-3)
        rounded = found[f"guarded_{what}_angle_degrees_median", "test", "float32"].value
        assert rounded != same
        error = found[f"{against}_relative_error_median", "test", "float32"].value
        assert error == pytest.approx(1, abs=1e-4)
        assert (f"{against}_relative_error_median", "test", "float64") not in found


def test_layers_tell_where_a_gradient_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WAYS, "guarded", Way(_negative_in_the_last))
    _, layers = measure(
        flow_of_three(), {"test": gaussian(16, (3,)).float()}, ways=["autograd", "guarded"]
    )
    degrees = {
        (m.layer, m.block, m.metric): m.value
        for m in layers
        if m.precision == "float64" and "guarded" in m.metric and "angle" in m.metric
    }
    for what in ("sample", "batch"):
        metric = f"guarded_{what}_angle_degrees_worst_finite"
        assert degrees[0, "ActNorm", metric] < 1e-5
        assert degrees[2, "ActNorm", metric] == pytest.approx(180)


def test_a_guard_sees_what_the_inverse_gets_wrong() -> None:
    norms = [ActNorm(6) for _ in range(4)]
    flow = Chain([norms[0], norms[1], Forgetful(1.0).float(), norms[2], norms[3]])
    ways = ["memory_saving", "guarded"]
    found, _ = measure(flow, {"test": gaussian(16, (6,)).float()}, ways=ways)
    value = {key: m.value for key, m in found.items()}
    for what in ("sample", "batch"):
        for against in ("", "_against_autograd"):
            metric = f"{against}_{what}_angle_degrees_worst_finite"
            assert value[f"memory_saving{metric}", "test", "float32"] > 1
            assert value[f"guarded{metric}", "test", "float32"] < 1e-3
    assert value["guarded_batch_recomputed_fraction", "test", "float32"] == 1
    assert found["guarded_batch_recomputed_fraction", "test", "float64"].count == 4
    assert not any(metric.startswith("autograd") for metric, *_ in found)


def test_what_cannot_be_rebuilt_is_unsupported() -> None:
    choice = registry.resolve("architecture", {"name": "free_form", "width": 4})
    flow = registry.build("architecture", choice, (3,), generator(0, "free"))
    ways = ["autograd", "memory_saving", "guarded"]
    found, _ = measure(flow, {"test": gaussian(4, (3,)).float()}, ways=ways, batches=1)
    for metric in (
        "memory_saving_sample_angle_degrees_median",
        "guarded_batch_recomputed_fraction",
    ):
        assert found[metric, "test", "float32"].status is NumberStatus.UNSUPPORTED
    assert found["autograd_batch_angle_degrees_median", "test", "float32"].value < 1e-2


def test_other_ways_cost_more() -> None:
    def cost(*ways: str) -> int:
        choice = registry.resolve("probe", {"name": "gradient_fidelity", "ways": list(ways)})
        passes = registry.get("probe", "gradient_fidelity").cost
        assert passes is not None
        return passes(choice.parameters, 3, 1)

    samples = 16 + 4 * 64
    assert cost("autograd") == samples * 2 * 2
    assert cost("memory_saving") == samples * (2 * 2 + 4 * 2)
    assert cost("autograd", "memory_saving", "guarded") == samples * (2 * 2 + 4 * 2 * 3)


def test_a_precision_that_there_is_not_says_so() -> None:
    found, layers = measure(
        flow_of_three(), {"test": gaussian(16, (3,)).float()}, precisions=["tf32", "bfloat16"]
    )
    for what in ("sample", "batch"):
        missing = found[f"autograd_{what}_angle_degrees_median", "test", "tf32"]
        assert missing.status is NumberStatus.UNSUPPORTED
        coarse = found[f"autograd_{what}_angle_degrees_median", "test", "bfloat16"].value
        assert 1e-2 < coarse < 10
    assert {m.precision for m in layers} == {"bfloat16"}


def test_of_nothing_to_learn_there_is_nothing() -> None:
    found, layers = measure(
        Permutation(torch.tensor([2, 0, 1])), {"test": gaussian(4, (3,)).float()}
    )
    assert not found
    assert not layers
