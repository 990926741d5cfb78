"""The regularizer that trains a learned inverse."""

import pytest
import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.coupling.networks import Conditioner, linear
from harness.bijections.free_form import FreeForm
from harness.bijections.likelihood import log_likelihood
from harness.conformance.registered import candidate
from harness.datasets.base import Dataset
from harness.registry import Combination
from harness.seeding import generator
from harness.suite.model import Training
from harness.training.batches import Batches
from harness.training.loop import Member, train
from tests.networks import gaussian

DATASET: Dataset = registry.build("dataset", registry.resolve("dataset", "eight_gaussians"))


def _built(axis: str, name: str) -> object:
    return registry.build(axis, registry.resolve(axis, name))


def test_the_penalty_is_the_squared_error() -> None:
    """There and back is 1.5 x: doubled, then three quarters."""
    networks = []
    for share in (1.0, -0.25):
        layer = linear(3, 3, generator(0, "w"))
        networks.append(Conditioner([layer]).double())
        with torch.no_grad():
            layer.weight.copy_(share * torch.eye(3))
    flow, x = FreeForm(*networks), gaussian(6, (3,))
    penalty = _built("regularizer", "reconstruction").penalty(flow, x)  # type: ignore[attr-defined]
    assert float(penalty.detach()) == pytest.approx(0.25 * float((x**2).sum(1).mean()))


@pytest.fixture(scope="module")
def trained() -> dict[str, Bijection]:
    found = {}
    for name in ("none", "reconstruction"):
        flow = registry.build(
            "architecture",
            registry.resolve("architecture", {"name": "free_form", "width": 16}),
            DATASET.shape,
            generator(0, "init"),
        )
        settings = Training(steps=300, batch_size=64, learning_rate=5e-3)
        member = Member(flow, settings, _built("regularizer", name), 0)  # type: ignore[arg-type]
        batches = Batches(DATASET, DATASET.read().train, 64, [0])
        train([member], _built("task", "density"), batches)  # type: ignore[arg-type]
        found[name] = flow.eval()
    return found


def _error(flow: Bijection) -> float:
    x = DATASET.prepare(DATASET.read().test[:128], generator(0, "x"))
    with torch.no_grad():
        back, _, report = flow.inverse_with_convergence(flow(x)[0])
    assert not report.converged.any()
    return float((back - x).norm(dim=1).median())


def test_it_trains_the_inverse(trained: dict[str, Bijection]) -> None:
    assert _error(trained["reconstruction"]) < 0.05
    assert _error(trained["none"]) > 1


@torch.no_grad()
def _mass(flow: Bijection) -> float:
    """The integral of ``exp log_likelihood`` over a square, by a sum."""
    line = torch.linspace(-16, 16, 500)
    grid = torch.cartesian_prod(line, line)
    step = float(line[1] - line[0])
    return float(log_likelihood(flow, grid).exp().sum()) * step**2


def test_without_it_the_flow_folds_and_its_likelihood_is_not_one(
    trained: dict[str, Bijection],
) -> None:
    assert _mass(trained["reconstruction"]) == pytest.approx(1, abs=0.05)
    assert _mass(trained["none"]) > 1.5


def _combination(architecture: str, regularizer: str, shape: tuple[int, ...]) -> Combination:
    return Combination(
        registry.resolve("task", "density"),
        registry.resolve("architecture", architecture),
        registry.resolve("regularizer", regularizer),
        registry.resolve("dataset", "checkerboard"),
        shape,
    )


def test_it_goes_with_what_learns_its_inverse_and_that_with_nothing_else() -> None:
    of_penalty = registry.get("regularizer", "reconstruction").refuses
    of_flow = registry.get("architecture", "free_form").refuses
    assert of_penalty is not None
    assert of_flow is not None
    assert of_penalty(_combination("free_form", "reconstruction", (2,))) is None
    assert of_flow(_combination("free_form", "reconstruction", (2,))) is None
    said = of_penalty(_combination("affine", "reconstruction", (2,)))
    assert said == (
        "reconstruction has nothing to train: the inverse of affine is no network of its own"
    )
    for other in ("none", "finite_difference"):
        said = of_flow(_combination("free_form", other, (2,)))
        assert said is not None
        assert said.startswith(f"free_form needs the regularizer reconstruction: with {other}")
    large = _combination("free_form", "reconstruction", (1, 8, 8))
    assert "at most 32 dimensions, not 64" in str(of_flow(large))
    assert of_penalty(large) is None  # said by the other


def test_a_refusal_builds_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*given: object) -> None:
        raise AssertionError(f"built {given}")

    monkeypatch.setattr(registry, "build", build)
    of_penalty = registry.get("regularizer", "reconstruction").refuses
    assert of_penalty is not None
    assert of_penalty(_combination("additive", "reconstruction", (2,))) is not None
    assert of_penalty(_combination("free_form", "reconstruction", (2,))) is None


@pytest.mark.parametrize("name", registry.names("architecture"))
def test_an_entry_says_whether_it_learns_its_inverse(name: str) -> None:
    flow = candidate(registry.resolve("architecture", name)).fresh()
    learned = any(isinstance(module, FreeForm) for module in flow.modules())
    assert registry.get("architecture", name).learns_inverse == learned
