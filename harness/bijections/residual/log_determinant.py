"""``log |det(I + J)|`` of a residual block: exact, by a power series, by Russian roulette.

With ``‖J‖₂ ≤ c < 1`` it is ``Σ_k (-1)^(k+1) tr(J^k) / k``, and ``tr(A) = E vᵀ A v`` for random
signs v. What is random lies in buffers, which only :func:`resample` changes: a call draws nothing
and changes nothing. The training loop resamples before every step, each network from a generator
of its own.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.bijections.base import sum_per_sample
from harness.bijections.given import check_least
from harness.bijections.residual.contraction import Contraction


class Estimator(nn.Module):
    """What may be random, and then lies in its buffers."""

    def resample(self, generator: torch.Generator) -> None:
        """Draw the buffers anew that an estimate is made with, if there are any."""


class LogDeterminant(Estimator):
    """``(g(x), log |det(I + J_g(x))|)``, shapes ``(B, *shape)`` and ``(B,)``, or an estimate."""

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        """Of the difference from the exact value to the estimate's expectation."""
        raise NotImplementedError


class Exact(LogDeterminant):
    """``log |det(I + K)|`` of the explicit matrix, at a cost that grows as D³."""

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        value, core = network.value_and_core(x)
        return value, torch.linalg.slogdet(plus_identity(core)).logabsdet

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        return 0.0


class ExactSeries(LogDeterminant):
    """``Σ_{k ≤ n} (-1)^(k+1) tr(J^k) / k`` of the explicit Jacobian.

    Args:
        terms: n, at least 1.
    """

    def __init__(self, terms: int) -> None:
        super().__init__()
        check_least("power series", 1, terms=terms)
        self.terms = terms

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        value, jacobian = network.value_and_jacobian(x)
        power, log_det = jacobian, x.new_zeros(len(x))
        for k in range(1, self.terms + 1):
            power = power @ jacobian if k > 1 else power
            log_det = log_det + (-1) ** (k + 1) / k * power.diagonal(dim1=1, dim2=2).sum(1)
        return value, log_det

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        return truncation_bound(lipschitz, self.terms, dimension)


class Series(LogDeterminant):
    """``Σ_{k ≤ n} (-1)^(k+1) vᵀ J^k v / k`` with random signs v (arXiv 1811.00995).

    Sample b of a batch has row ``b mod rows`` of the buffer ``signs`` for its v: its estimate
    depends on its place in the batch, and on no other sample. The gradient is that of
    :func:`estimate`, which keeps the memory of one evaluation.

    Args:
        terms: n, at least 1.
        size: D, the dimensions of an input.
        generator: Draws the first signs.
        rows: How many there are.
    """

    signs: Tensor

    def __init__(self, terms: int, size: int, generator: torch.Generator, rows: int = 64) -> None:
        super().__init__()
        check_least("power series", 1, terms=terms, size=size, rows=rows)
        self.terms = terms
        self.register_buffer("signs", random_signs((rows, size), generator))

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        return estimate(network, x, one_each(self.signs, x), [1.0] * self.terms)

    @torch.no_grad()
    def resample(self, generator: torch.Generator) -> None:
        self.signs.copy_(random_signs(self.signs.shape, generator))

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        return truncation_bound(lipschitz, self.terms, dimension)


class Roulette(LogDeterminant):
    """The series to a random length, each term divided by the probability that it is there.

    ``Σ_{k ≤ m + N} w_k (-1)^(k+1) vᵀ J^k v / k`` with ``w_k = 1`` for the first m terms and
    ``1 / P(N ≥ k - m) = q^-(k-m)`` after them: unbiased, and so is its gradient (Residual Flows,
    arXiv 1906.02735). N is geometric, ``q / (1 - q)`` on average. The variance is certain to be
    finite where ``c² < q``; the paper takes q = 1/2.

    The length is read on the host, so the forward pass branches on a buffer: an architecture with
    it says ``branches=("forward", "inverse")``. All samples of a batch have the same length.

    Args:
        certain: m, at least 1.
        continuation: q, in (0, 1).
        size: D, the dimensions of an input.
        generator: Draws the first length and signs.
        rows: As in :class:`Series`.
    """

    signs: Tensor
    length: Tensor

    def __init__(
        self,
        certain: int,
        continuation: float,
        size: int,
        generator: torch.Generator,
        rows: int = 64,
    ) -> None:
        super().__init__()
        check_least("Russian roulette", 1, certain=certain, size=size, rows=rows)
        if not 0 < continuation < 1:
            message = f"Russian roulette: continuation must be in (0, 1), not {continuation}"
            raise ValueError(message)
        self.certain, self.continuation = certain, continuation
        self.register_buffer("signs", torch.empty(rows, size))
        self.register_buffer("length", torch.zeros((), dtype=torch.int64))
        self.resample(generator)

    def forward(self, network: Contraction, x: Tensor) -> tuple[Tensor, Tensor]:
        further = range(1, int(self.length) + 1)
        weights = [1.0] * self.certain + [self.continuation**-k for k in further]
        return estimate(network, x, one_each(self.signs, x), weights)

    @torch.no_grad()
    def resample(self, generator: torch.Generator) -> None:
        self.signs.copy_(random_signs(self.signs.shape, generator))
        # PyTorch's geometric distribution counts trials, from 1.
        trials = torch.empty(()).geometric_(1 - self.continuation, generator=generator)
        self.length.copy_(trials - 1)

    def error_bound(self, lipschitz: float, dimension: int) -> float:
        return 0.0


def resample(network: nn.Module, generator: torch.Generator) -> None:
    """Draw anew what the log-determinants within ``network`` are estimated with."""
    for module in network.modules():
        if isinstance(module, Estimator):
            module.resample(generator)


def estimates(network: nn.Module) -> list[tuple[str, Tensor]]:
    """The buffers that :func:`resample` changes, by their names within ``network``."""
    return [
        (f"{prefix}.{name}" if prefix else name, buffer)
        for prefix, module in network.named_modules()
        if isinstance(module, Estimator)
        for name, buffer in module.named_buffers(recurse=False)
    ]


def estimate(
    network: Contraction, x: Tensor, v: Tensor, weights: Sequence[float]
) -> tuple[Tensor, Tensor]:
    """``g(x)`` and ``Σ_k w_k (-1)^(k+1) vᵀ J^k v / k``, with a gradient of the same expectation.

    ``d tr(J^k) / k = tr(J^(k-1) dJ)``, and so the gradient is that of ``vᵀ J u`` with
    ``u = Σ_k w_k (-J)^(k-1) v`` held constant (arXiv 1906.02735, theorem 2): the powers are
    computed without a graph, and only one product with J has one. First derivatives only.

    Args:
        network: g.
        x: Shape ``(B, *shape)``.
        v: Random signs, likewise.
        weights: ``w_k``, from k = 1 on.
    """
    value, tangent = network.linearize(x)
    with torch.no_grad():
        power, u, log_det = v, torch.zeros_like(v), x.new_zeros(len(x))
        for number, weight in enumerate(weights):
            signed = weight if number % 2 == 0 else -weight
            u = u + signed * power
            power = tangent(power)
            log_det = log_det + signed / (number + 1) * sum_per_sample(v * power)
    carrier = sum_per_sample(v * tangent(u))
    return value, log_det + (carrier - carrier.detach())


def truncation_bound(lipschitz: float, terms: int, dimension: int) -> float:
    """``Σ_{k > n} D c^k / k ≤ D c^(n+1) / ((n + 1) (1 - c))``; inf where c is not below 1."""
    if not lipschitz < 1:
        return float("inf")
    return dimension * lipschitz ** (terms + 1) / ((terms + 1) * (1 - lipschitz))


def plus_identity(matrices: Tensor) -> Tensor:
    """``I + A`` of each of ``(B, K, K)``."""
    size, like = matrices.shape[-1], matrices
    return matrices + torch.eye(size, dtype=like.dtype, device=like.device)


def random_signs(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """±1, each with probability 1/2."""
    return 2.0 * torch.randint(2, tuple(shape), generator=generator) - 1.0


def one_each(signs: Tensor, x: Tensor) -> Tensor:
    """Row ``b mod rows`` for sample b, in the shape of x.

    Raises:
        ValueError: The signs are for inputs of another size.
    """
    if signs.shape[1] != math.prod(x.shape[1:]):
        message = f"log-det estimate: its size must be that of the input, {math.prod(x.shape[1:])}"
        raise ValueError(f"{message}, not {signs.shape[1]}")
    repetitions = -(-len(x) // len(signs))
    return signs.repeat(repetitions, 1)[: len(x)].reshape(x.shape).to(x.dtype)
