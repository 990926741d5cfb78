"""Bijections that are wrong, each in one way, and each in a chain with others that are right."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from harness.bijections.base import Bijection, BiLipschitz, Convergence, Rebuilt, again
from harness.bijections.box import Box
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.linear.linear import LULinear
from harness.bijections.residual.contraction import Contraction
from harness.bijections.residual.lipschitz_network import LipschitzNetwork
from harness.bijections.residual.log_determinant import LogDeterminant, truncation_bound
from harness.bijections.residual.residual import Residual
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Affine
from harness.registry import Shape
from tests.conformance_suite.faults_of_bounds import FAULTS_OF_BOUNDS
from tests.conformance_suite.frame import Factory, beside, coupling


class WrongSign(ActNorm):
    def _log_det(self, x: Tensor, log_scale: Tensor) -> Tensor:
        return -super()._log_det(x, log_scale)


class Series(Residual):
    """``log |det(I + J)| = Σ (-1)^(k+1) tr(J^k) / k``, up to 12, less what is dropped."""

    def __init__(self, generator: torch.Generator, dropped: int) -> None:
        super().__init__(LipschitzNetwork(2, 8, 1, 0.1, generator))
        self.dropped = dropped

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        value, jacobian = self.network.value_and_jacobian(x)
        power, log_det = jacobian, torch.zeros_like(x[:, 0])
        for k in range(1, 13):
            trace = power.diagonal(dim1=1, dim2=2).sum(1)
            log_det = log_det + (k != self.dropped) * (-1) ** (k + 1) * trace / k
            power = power @ jacobian
        return x + value, log_det


class Undivided(LogDeterminant):
    """The power series less its factors 1/k, by which a block can be trained and never judged."""

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = network.value_and_jacobian(x)
        power, log_det = jacobian, torch.zeros_like(x[:, 0])
        for k in range(1, 41):
            log_det = log_det + (-1) ** (k + 1) * power.diagonal(dim1=1, dim2=2).sum(1)
            power = power @ jacobian
        return value, log_det

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        return truncation_bound(lipschitz, 40, dimension)


class Drifting(Bijection):
    """``y = W x`` with W a rotation at the start, taken for one ever after."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        rotation, _ = torch.linalg.qr(torch.randn(2, 2, generator=generator))
        self.weight = nn.Parameter(rotation)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x @ self.weight.T, x.new_zeros(len(x))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return y @ self.weight, y.new_zeros(len(y))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(1.0, 1.0)


class Loose(Residual):
    """Its fixed point ends at 1e-7, each sample for itself or the whole batch at once."""

    def __init__(self, generator: torch.Generator, *, together: bool) -> None:
        super().__init__(LipschitzNetwork(2, 8, 1, 0.5, generator))
        self.together = together

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        x, moving = y, torch.ones_like(y[:, :1], dtype=torch.bool)
        for _ in range(40):
            new = torch.where(moving, y - self.network(x), x)
            moving = (new - x).norm(dim=1, keepdim=True) > 1e-7
            if self.together:
                moving = moving.any().expand_as(moving)
            x = new
        return x, -self(x)[1], Convergence.closed_form(y)


class Together(Bijection):
    """``y = x + c sin(x)``, c = 0.9 sigmoid(w), whose inverse looks at the whole batch.

    It stops by the norm of all steps together, or takes fewer of them in a large batch. What is far
    hardly moves, and so its size alone makes the others stop.
    """

    def __init__(self, *, crowded: bool = False) -> None:
        super().__init__()
        self.weight, self.crowded = nn.Parameter(torch.full((2,), 2.0)), crowded

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        c = 0.9 * self.weight.sigmoid()
        return x + c * x.sin(), (c * x.cos()).log1p().sum(1)

    def inverse_with_convergence(
        self, y: Tensor, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Convergence]:
        c, x = 0.9 * self.weight.sigmoid(), y
        for _ in range(10 if self.crowded and len(y) > 100 else 2000):
            last, x = x, y - c * x.sin()
            if not self.crowded and (x - last).norm() <= 4 * torch.finfo(y.dtype).eps * y.norm():
                break
        return x, -self(x)[1], Convergence.closed_form(y)

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(math.inf, math.inf)


class Unlearnable(ActNorm):
    """Right in every value; the gradient of its log-det is a part of the right one."""

    def __init__(self, part: float) -> None:
        super().__init__(2)
        self.part = part

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x)
        return y, self.part * log_det + (1 - self.part) * log_det.detach()


class WrongRebuild(Coupling):
    """Right in every direction; what it rebuilds for a gradient is its output, or lacks a term."""

    def __init__(self, generator: torch.Generator, *, inverts: bool) -> None:
        super().__init__(1, Affine(Exponential()), mlp(1, 2, 8, 1, generator))
        self.inverts = inverts

    def rebuild(self, y: Tensor, context: Tensor | None = None) -> Rebuilt:
        if not self.inverts:
            return again(self, y, context)
        found = super().rebuild(y, context)
        return found._replace(gradients=lambda by_y, _, wanted: found.gradients(by_y, None, wanted))


class LostFlag(ActNorm):
    """Initialised by the first batch it sees, which only an attribute remembers."""

    initialized = False

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not self.initialized:
            self.initialized = True
            self.initialize(x)
        return super().forward(x)


class Remembering(Bijection):
    """``y = 2 x``, whose inverse puts in what the last forward pass took away."""

    last: Tensor | None = None

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.last = x[:, 1:].detach()
        return 2 * x, x.new_full((len(x),), 2 * math.log(2))

    def inverse(self, y: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = y / 2
        if self.last is not None and self.last.shape == x[:, 1:].shape:
            x = torch.cat([x[:, :1], self.last], dim=1)
        return x, y.new_full((len(y),), -2 * math.log(2))

    def bounds(self, box: Box | None = None) -> BiLipschitz:
        return BiLipschitz(2.0, 0.5)


class Counting(ActNorm):
    """Counts its calls in a buffer."""

    calls: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.calls += 1
        return super().forward(x)


class Branching(ActNorm):
    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x if x.isnan().any() else 1.0 * x)


class InTraining(Coupling):
    """In training mode the log-det is the batch's mean for every sample, or without a gradient."""

    def __init__(self, generator: torch.Generator, *, shared: bool) -> None:
        super().__init__(1, Affine(Exponential()), mlp(1, 2, 8, 1, generator))
        self.shared = shared

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward(x)
        if self.training:
            log_det = log_det.mean().expand(len(x)) if self.shared else log_det.detach()
        return y, log_det


class Impatient(Residual):
    """Two iterations are enough where g is nothing, as it is at the start."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__(LipschitzNetwork(2, 8, 1, 0.9, generator), maximum_iterations=2)
        with torch.no_grad():
            for parameter in list(self.network.parameters())[-2:]:
                parameter.zero_()


def _undivided(generator: torch.Generator) -> Bijection:
    return Residual(LipschitzNetwork(2, 8, 1, 0.5, generator), in_training=Undivided())


def _unlearnable(part: float, generator: torch.Generator) -> Bijection:
    return Unlearnable(part)


def right(shape: Shape, generator: torch.Generator) -> Bijection:
    """The same frame, and nothing wrong in it."""
    parts = [ActNorm(2), coupling(generator), Series(generator, dropped=0)]
    return Chain([Flatten(shape), LULinear(2, generator), *parts])


FAULTS: dict[str, tuple[Factory, str, str]] = {
    "wrong sign of a log-det": (
        beside(lambda _: WrongSign(2)),
        "log-det, forward",
        r"first in parts\.2 \(WrongSign\): .*its sign is wrong",
    ),
    "dropped coefficient": (
        beside(lambda generator: Series(generator, dropped=3)),
        "log-det, forward",
        r"the block says .* its autograd Jacobian .* in parts\.2 \(Series\)",
    ),
    "dropped factor in training mode": (
        beside(_undivided),
        "log-det in training mode",
        r"the block says .*, its autograd Jacobian .* in parts\.2 \(Residual\)",
    ),
    "log-det of training mode that samples share": (
        beside(lambda generator: InTraining(generator, shared=True)),
        "log-det in training mode",
        r"the block says .*, its autograd Jacobian .* in parts\.2 \(InTraining\)",
    ),
    "no gradient of a log-det in training mode": (
        beside(lambda generator: InTraining(generator, shared=False)),
        "gradient of the log-det against differences, forward, in training mode",
        r"along a direction it is .*, and a difference .* in parts\.2 \(InTraining\)",
    ),
    "activations that are rebuilt without an inverse": (
        beside(lambda generator: WrongRebuild(generator, inverts=False)),
        "memory-saving gradient",
        r"it differs from autograd's by .* in parts\.2 \(WrongRebuild\)",
    ),
    "activations without a gradient of the log-det": (
        beside(lambda generator: WrongRebuild(generator, inverts=True)),
        "guarded gradient",
        r"by parts\.2\..* it differs from autograd's",
    ),
    "inverse that converges as built only": (
        beside(Impatient),
        "the inverse converges",
        r"\(after 200 training steps\): .* say that they did not",
    ),
    "orthogonal matrix that drifts": (
        beside(Drifting),
        "round trip, F⁻¹(F(x)) = x",
        r"\(after 200 training steps\): what comes back is off by .* in parts\.2 \(Drifting\)",
    ),
    "loose tolerance": (
        beside(lambda generator: Loose(generator, together=False)),
        "round trip, F⁻¹(F(x)) = x",
        r"what comes back is off by .* in parts\.2 \(Loose\)",
    ),
    "batch-dependent inverse": (
        beside(lambda generator: Loose(generator, together=True)),
        "batch independence, inverse",
        r"beside .* the result of sample \d differs by .* in parts\.2 \(Loose\)",
    ),
    "inverse that stops by the norm of the batch": (
        beside(lambda _: Together()),
        "batch independence, inverse, float32",
        r"beside a sample 1e5 times as far the result of .* in parts\.2 \(Together\)",
    ),
    "inverse of fewer steps in a large batch": (
        beside(lambda _: Together(crowded=True)),
        "batch independence, inverse",
        r"beside 256 others the result of sample \d differs by .* in parts\.2 \(Together\)",
    ),
    **{
        f"{what} gradient of a log-det": (
            beside(partial(_unlearnable, part)),
            "gradient of the log-det against differences, forward",
            r"along a direction it is .*, and a difference .* in parts\.2 \(Unlearnable\)",
        )
        for what, part in (("no", 0.0), ("half a", 0.5))
    },
    "flag lost on reload": (
        beside(lambda _: LostFlag(2)),
        "state_dict round trip, in evaluation mode",
        r"numbers of the loaded network differ from the saved one's",
    ),
    "inverse that remembers": (
        beside(lambda _: Remembering()),
        "two calls agree, inverse",
        r"after calls on other inputs, \d+ numbers differ",
    ),
    "buffer that counts": (
        beside(lambda _: Counting(2)),
        "no call changes the state",
        r"a call changes parts\.2\.calls",
    ),
    "undeclared branch on data, forward": (
        beside(lambda _: Branching(2)),
        "packs, forward",
        r"two networks cannot run as one, and branches=\('forward',\) is not declared",
    ),
    "undeclared branch on data, inverse": (
        beside(lambda generator: Residual(LipschitzNetwork(2, 8, 1, 0.5, generator))),
        "packs, inverse",
        r"two networks cannot run as one, and branches=\('inverse',\) is not declared",
    ),
    **FAULTS_OF_BOUNDS,
}
