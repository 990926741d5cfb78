"""Networks that answer as one against each by itself, over every architecture."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from harness import registry
from harness.bijections.actnorm import ActNorm
from harness.bijections.base import Bijection, Convergence
from harness.bijections.chain import Chain
from harness.bijections.lipschitz_network import LipschitzNetwork
from harness.bijections.residual import Residual
from harness.measuring.lockstep import in_lockstep
from harness.measuring.networks import AT_ONCE, PAYS_TO, Networks
from harness.probes.jacobian import jacobian, spectra
from harness.probes.subject import DTYPES, Inputs, Probe, Question, Subject
from harness.seeding import generator
from tests.networks import cases, gaussian, network

SEEDS = (0, 1, 2)
SIZES = {"sampling": "samples"}
CALLS: list[int] = []
"""How many samples each call of a function here was given."""


def flows(case: str, dtype: torch.dtype = torch.float32) -> list[Bijection]:
    return [network(case, seed, dtype)[0].eval() for seed in SEEDS]


def ask(networks: Networks, function: Callable[..., Any], precision: str, *x: Tensor) -> list[Any]:
    """The answers to the same question of all networks."""
    questions = {number: Question(function, precision, x) for number in range(len(SEEDS))}
    answers = networks.answer(questions)
    return [answers[number].unwrap() for number in range(len(SEEDS))]


def each(
    pack: Sequence[Bijection], function: Callable[..., Any], precision: str, *x: Tensor
) -> list[Any]:
    return [
        Networks([flow]).answer({0: Question(function, precision, x)})[0].unwrap() for flow in pack
    ]


def assert_close(ours: Any, theirs: Any, tolerance: float) -> None:
    pairs = zip(pytree.tree_leaves(ours), pytree.tree_leaves(theirs), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(
            one, other, rtol=tolerance, atol=tolerance, equal_nan=True, check_dtype=True
        )


@torch.no_grad()
def there_and_back(flow: Bijection, x: Tensor) -> Any:
    CALLS.append(len(x))
    z, log_det = flow(x)
    back, inverse_log_det, report = flow.inverse_with_convergence(z)
    return {"z": z, "log_det": log_det, "back": (back, inverse_log_det, report.converged)}


def recorded_jacobian(flow: Bijection, x: Tensor) -> Tensor:
    CALLS.append(len(x))
    return jacobian(flow, x)


@pytest.mark.parametrize("function", [there_and_back, recorded_jacobian])
@pytest.mark.parametrize("precision", DTYPES)
@pytest.mark.parametrize("case", cases())
def test_networks_answer_as_one_what_each_would(
    case: str, precision: str, function: Callable[..., Any]
) -> None:
    pack = flows(case)
    x = gaussian(4, cases()[case][1]).to(DTYPES[precision])
    theirs = each(pack, function, precision, x)
    networks, tolerance = Networks(pack), {"float32": 5e-3, "float64": 1e-9}[precision]
    ask(networks, function, precision, x)  # finds the way
    CALLS.clear()
    ours = ask(networks, function, precision, x)
    assert CALLS[-1] == len(SEEDS) * len(x)
    assert_close(ours, theirs, tolerance)
    first, second = (pytree.tree_leaves(one)[0] for one in ours[:2])
    assert (first - second).abs().max() > 1e-3


RESIDUAL = [case for case in cases() if case.startswith("residual")]


@pytest.mark.parametrize("case", RESIDUAL)
def test_an_iterative_inverse_ends_for_each_sample_as_it_would_alone(case: str) -> None:
    pack = flows(case)
    x = gaussian(5, cases()[case][1], scale=3.0)
    x[1], x[2] = torch.nan, 0

    def report(flow: Bijection, x: Tensor) -> Any:
        with torch.no_grad():
            return flow.inverse_with_convergence(x.flatten(1))[2]

    ours, theirs = ask(Networks(pack), report, "float64", x), each(pack, report, "float64", x)
    for one, other in zip(ours, theirs, strict=True):
        assert (one.iterations - other.iterations).abs().max() <= 1  # rounding of the last step
        assert torch.equal(one.converged, other.converged)
        assert one.converged.tolist() == [True, False, True, True, True]
    assert len({int(one.iterations.max()) for one in ours}) > 1


def test_an_inverse_of_several_residual_networks_has_no_gradient_but_each_alone_has() -> None:
    case = RESIDUAL[0]

    def slope(flow: Bijection, y: Tensor) -> Tensor:
        y = y.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((flow.inverse(y)[0] * y).sum(), y)
        return gradient

    pack, y = flows(case), gaussian(4, (2,))
    assert_close(
        ask(Networks(pack), slope, "float64", y), each(pack, slope, "float64", y), tolerance=1e-12
    )


AFFINE = next(case for case in cases() if case.startswith("affine") and case.endswith("on 2"))


def of_samples(flow: Bijection, x: Tensor) -> Tensor:
    CALLS.append(len(x))
    y: Tensor = flow(x)[0].detach()
    return y


def calls(networks: Networks, *x: Tensor, function: Callable[..., Any] = of_samples) -> list[int]:
    """How many samples each call is given where network i is asked about x_i."""
    CALLS.clear()
    found = networks.answer({n: Question(function, "float32", (one,)) for n, one in enumerate(x)})
    for number, one in enumerate(x):
        expected = network(AFFINE, number, torch.float32)[0](one)[0].detach()
        torch.testing.assert_close(found[number].unwrap(), expected, rtol=1e-4, atol=1e-4)
    return CALLS.copy()


def test_only_questions_that_are_alike_are_answered_as_one() -> None:
    x = gaussian(4, (2,)).float()
    networks = Networks(flows(AFFINE))
    assert calls(networks, x, 2 * x, 3 * x) == [12]
    assert calls(networks, x, x[:2], 3 * x) == [8, 2]


def test_large_inputs_are_answered_one_by_one_where_they_are_work_enough() -> None:
    most = PAYS_TO["cpu"] // 8  # two dimensions in float32
    x = gaussian(most + 1, (2,)).float()
    networks = Networks(flows(AFFINE))
    assert calls(networks, *[x[:most]] * 3) == [3 * most]
    assert calls(networks, *[x] * 3) == [most + 1] * 3


def mean(flow: Bijection, x: Tensor) -> Any:
    with torch.no_grad():
        return flow(x)[0].mean(), float(flow(x)[1].mean())


def all_but_one(flow: Bijection, x: Tensor) -> Tensor:
    result: Tensor = flow(x)[0][1:]
    return result


@pytest.mark.parametrize("function", [mean, all_but_one])
def test_what_gives_no_row_a_sample_is_answered_one_by_one(function: Callable[..., Any]) -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    assert_close(
        ask(Networks(pack), function, "float32", x), each(pack, function, "float32", x), 1e-6
    )


def positive(flow: Bijection, x: Tensor) -> Tensor:
    y: Tensor = flow(x)[0].detach()
    if y.isnan().any():
        raise ArithmeticError("NaN")
    return y


def test_the_network_at_fault_fails_alone() -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    with torch.no_grad():
        next(pack[1].parameters()).fill_(torch.nan)
    questions = {number: Question(positive, "float32", (x,)) for number in range(3)}
    found = Networks(pack).answer(questions)
    assert isinstance(found[1].error, ArithmeticError)
    for number in (0, 2):
        torch.testing.assert_close(found[number].unwrap(), pack[number](x)[0].detach())


class Scaled(Bijection):
    """A block that branches on data wherever it goes."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scale = self.scale if self.scale > 1 else self.scale + 10
        return x * scale, scale.log().expand(len(x))


def test_a_network_that_branches_answers_by_itself() -> None:
    pack = [Scaled(scale) for scale in (0.5, 2.0, 0.25)]
    x = torch.ones(2, 2)
    found = ask(Networks(pack), of_samples, "float32", x)
    assert [float(one[0, 0]) for one in found] == [10.5, 2.0, 10.25]


def test_a_block_that_is_there_twice() -> None:
    def twice(seed: int) -> Bijection:
        norm = ActNorm(2)
        with torch.no_grad():
            norm.log_scale.fill_(seed)
        return Chain([norm, norm])

    found = ask(Networks([twice(s) for s in SEEDS]), of_samples, "float32", torch.ones(4, 2))
    expected = [torch.tensor(2.0 * seed).exp() for seed in SEEDS]
    for one, scale in zip(found, expected, strict=True):
        torch.testing.assert_close(one, scale.expand(4, 2))


@pytest.mark.parametrize("precision", DTYPES)
def test_every_precision_has_the_weights_of_float32(precision: str) -> None:
    pack = flows(AFFINE, torch.float64)
    with torch.no_grad():
        for flow in pack:
            for parameter in flow.parameters():
                parameter.mul_(1 + 1e-8)  # no longer a number of float32
    x = gaussian(4, (2,)).to(DTYPES[precision])
    found = ask(Networks(pack), of_samples, precision, x)
    for flow, ours, alone in zip(pack, found, each(pack, of_samples, precision, x), strict=True):
        rounded = flow.float().to(DTYPES[precision])
        tolerance = {"float32": 1e-5, "float64": 1e-12}[precision]
        for one in (ours, alone):
            torch.testing.assert_close(one, rounded(x)[0], rtol=tolerance, atol=tolerance)


class Newton(Bijection):
    """``y = x³`` on positive numbers, by as many steps for every input."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = torch.nn.Parameter(torch.tensor(float(steps)))

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x = y
        for step in range(8):
            x = torch.where(step < self.steps, (2 * x + y / x**2) / 3, x)
        residual = (x**3 - y).abs().amax(1)
        count = self.steps.to(torch.int64).expand(len(y))
        return x, residual, Convergence(count, residual, residual < 1e-6)


@torch.no_grad()
def root(flow: Bijection, y: Tensor) -> Any:
    CALLS.append(len(y))
    return flow.inverse_with_convergence(y)


def test_how_an_iteration_ended_is_told_by_a_block_that_knows_nothing_of_packs() -> None:
    CALLS.clear()
    y = torch.tensor([[1.5], [2.0]])
    found = ask(Networks([Newton(1), Newton(8), Newton(3)]), root, "float32", y)
    assert CALLS == [6]
    assert [report.iterations.tolist() for _, _, report in found] == [[1, 1], [8, 8], [3, 3]]
    assert [bool(report.converged.all()) for _, _, report in found] == [False, True, False]


def bounds(flow: Bijection) -> Any:
    return flow.bounds()


def test_a_question_without_tensors_may_have_any_answer() -> None:
    pack = flows(AFFINE, torch.float64)
    assert ask(Networks(pack), bounds, "float64") == [
        flow.float().double().bounds() for flow in pack
    ]


def test_a_subject_asks_for_its_spectra_once() -> None:
    x = gaussian(6, (2,)).float()
    subject = Subject(Inputs({"test": x, "far": 2 * x}, 1.0, 0))

    asked = subject.spectra(4)
    question = asked.send(None)
    assert (question.function, question.precision) == (spectra, "float64")
    assert question.tensors[0].shape == (8, 2)
    with pytest.raises(StopIteration):
        asked.send("answer")
    with pytest.raises(StopIteration) as again:
        subject.spectra(4).send(None)
    assert again.value.value == "answer"


class Watched(Networks):
    """Keeps which functions of tensors were answered by a network alone."""

    def __init__(self, flows: Sequence[Bijection]) -> None:
        super().__init__(flows)
        self.alone: list[Callable[..., Any]] = []

    def _by_itself(self, number: int, question: Question[Any]) -> Any:
        if question.tensors:
            self.alone.append(question.function)
        return super()._by_itself(number, question)


PROBES = {
    name: registry.resolve("probe", {"name": name, SIZES.get(name, "points"): 4})
    for name in registry.names("probe")
}


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize("case", cases())
def test_no_built_in_probe_falls_back_to_one_by_one(case: str, probe: str) -> None:
    networks = Watched(flows(case))
    inputs = Inputs({"test": gaussian(4, cases()[case][1]).float()}, 1.0, 0)
    run: Probe = registry.build("probe", PROBES[probe])
    coroutines = [run(Subject(inputs), generator(seed, probe)) for seed in SEEDS]
    ended = list(in_lockstep(coroutines, networks.answer, networks.pays))
    assert len(ended) == len(SEEDS)
    assert all(one.result.unwrap() for one in ended)
    assert networks.alone == []


@torch.no_grad()
def difference(flow: Bijection, x: Tensor) -> Tensor:
    """A finite difference, in one call of twice as many samples."""
    near, far = flow(torch.cat([x, x + 0.1]))[0].chunk(2)
    change: Tensor = far - near
    return change


@torch.no_grad()
def in_parts(flow: Bijection, x: Tensor) -> Tensor:
    return torch.cat([flow(part)[0] for part in torch.split(x, 2)])


@torch.no_grad()
def looks_at_weights(flow: Bijection, x: Tensor) -> Tensor:
    size = sum(parameter.square().sum() for parameter in flow.parameters())
    return size.expand(len(x))  # type: ignore[union-attr]


@torch.no_grad()
def looks_at_its_class(flow: Bijection, x: Tensor) -> Tensor:
    return torch.full_like(x, isinstance(flow, Chain))


@torch.no_grad()
def with_context(flow: Bijection, x: Tensor) -> Tensor:
    y: Tensor = flow(x, torch.ones(len(x), 1))[0]
    return y


@pytest.mark.parametrize(
    "function", [difference, in_parts, looks_at_weights, looks_at_its_class, with_context]
)
def test_whatever_else_is_done_with_a_network_is_done_with_each_by_itself(
    function: Callable[..., Any],
) -> None:
    pack, x = flows(AFFINE), gaussian(4, (2,)).float()
    networks = Watched(pack)
    ours = ask(networks, function, "float32", x)
    assert networks.alone == [function] * len(SEEDS)
    assert_close(ours, each(pack, function, "float32", x), 1e-6)


def test_a_tensor_without_a_row_a_sample_is_not_cut_into_parts() -> None:
    def mixed(flow: Bijection, x: Tensor, matrix: Tensor) -> Tensor:
        y: Tensor = flow(x)[0].detach() @ matrix.T
        return y

    pack, x, matrix = flows(AFFINE), gaussian(4, (2,)).float(), gaussian(3, (2,)).float()
    ours = ask(Networks(pack), mixed, "float32", x, matrix)
    assert_close(ours, each(pack, mixed, "float32", x, matrix), 1e-6)


def nothing(flow: Bijection, x: Tensor) -> dict[str, Tensor]:
    return {}


def test_an_answer_of_nothing_is_an_answer() -> None:
    assert ask(Networks(flows(AFFINE)), nothing, "float32", torch.ones(4, 2)) == [{}, {}, {}]


def test_spectra_within_the_limits_of_a_graphics_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the Jacobians of all are too many at a time, each network answers by itself."""
    monkeypatch.setattr("harness.probes.jacobian.LARGEST", 5 * 2 * 2)
    pack, x = flows(AFFINE), gaussian(4, (2,))
    ours = ask(Networks(pack), spectra, "float64", x)
    assert_close(ours, each(pack, spectra, "float64", x), 1e-9)


def test_as_many_networks_answer_as_one_as_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = gaussian(4, (2,)).float()
    monkeypatch.setitem(AT_ONCE, "cpu", 2 * x.nbytes + 1)
    assert calls(Networks(flows(AFFINE)), x, 2 * x, 3 * x) == [8, 4]


def test_other_networks_in_turn_are_not_taken_for_the_same() -> None:
    x, networks = gaussian(4, (2,)).float(), Networks(flows(AFFINE))
    for numbers in ((0, 1), (1, 2), (0, 2), (0, 1)):
        found = networks.answer({n: Question(of_samples, "float32", (x,)) for n in numbers})
        for number in numbers:
            expected = network(AFFINE, number, torch.float32)[0](x)[0].detach()
            torch.testing.assert_close(found[number].unwrap(), expected, rtol=1e-4, atol=1e-4)


def test_questions_in_two_precisions_are_not_alike() -> None:
    x, networks = gaussian(4, (2,)).float(), Networks(flows(AFFINE))
    precisions = ("float32", "float64", "float32")
    found = networks.answer(
        {
            number: Question(of_samples, precision, (x.to(DTYPES[precision]),))
            for number, precision in enumerate(precisions)
        }
    )
    assert [found[number].unwrap().dtype for number in range(3)] == [
        DTYPES[precision] for precision in precisions
    ]


def test_hooks_of_a_part_are_heeded() -> None:
    pack = [Chain([ActNorm(2), ActNorm(2)]) for _ in SEEDS]
    for flow in pack:
        flow.parts[1].register_forward_hook(lambda _, __, found: (found[0] + 5, found[1]))
    for one in ask(Networks(pack), of_samples, "float32", torch.ones(4, 2)):
        assert torch.equal(one, torch.full((4, 2), 6.0))


class Doubled(Bijection):
    """Twice as large while it is trained."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.scale * (2 if self.training else 1), x.new_zeros(len(x))


def test_networks_as_one_are_in_evaluation_mode() -> None:
    pack = [Chain([Doubled(), ActNorm(2)]).eval() for _ in SEEDS]
    for one in ask(Networks(pack), of_samples, "float32", torch.ones(4, 2)):
        assert torch.equal(one, torch.ones(4, 2))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((of_samples, "float16", torch.ones(2, 2)), "float32, float64"),
        ((of_samples, "float32", 3.0), "tensors of samples, not 3.0"),
        ((of_samples, "float32", torch.ones(())), "tensors of samples"),
        (([], "float32", torch.ones(2, 2)), "unhashable"),
    ],
)
def test_what_cannot_be_asked_is_said(arguments: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Subject(Inputs({}, 1.0, 0)).ask(*arguments)


def test_what_is_no_question_fails_its_asker_alone() -> None:
    networks = Networks(flows(AFFINE))
    question = Question(of_samples, "float32", (torch.ones(2, 2),))
    found = networks.answer({0: None, 1: question})  # type: ignore[dict-item]
    assert isinstance(found[0].error, TypeError)
    assert found[1].unwrap().shape == (2, 2)


class Odd(Residual):
    """Its inverse is its own."""

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        return y + 1, y.new_zeros(len(y)), Convergence.closed_form(y)


def test_a_subclass_of_a_block_is_not_taken_for_the_block() -> None:
    pack = [Odd(LipschitzNetwork(2, 4, 1, 0.5, generator(seed, "odd"))) for seed in SEEDS]
    found = ask(Networks(pack), root, "float32", torch.ones(4, 2))
    assert all(torch.equal(x, torch.full((4, 2), 2.0)) for x, _, _ in found)
