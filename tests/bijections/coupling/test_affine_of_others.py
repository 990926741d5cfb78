"""Scale maps and volume-preserving couplings against other libraries."""

import math

import torch
from torch import Tensor, nn

from harness.bijections.coupling.coupling import Coupling
from harness.bijections.scale_maps.exponentials import BoundedExponential, SoftClip
from harness.bijections.transformers.volume_preserving import VolumePreserving
from harness.seeding import generator
from tests.networks import gaussian

H = torch.linspace(-9, 9, 41, dtype=torch.float64)


def test_the_soft_clip_is_zukos() -> None:
    import zuko  # noqa: PLC0415

    theirs = zuko.transforms.MonotonicAffineTransform(torch.zeros_like(H), H)
    torch.testing.assert_close(SoftClip(1000.0).log(H), theirs.log_scale, rtol=1e-12, atol=0)


def test_the_volume_preserving_coupling_is_freias() -> None:
    from FrEIA import modules  # noqa: PLC0415

    inner = nn.Linear(2, 6).double()
    inner.weight.data = torch.randn(6, 2, generator=generator(0, "w"), dtype=torch.float64)

    class Nothing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_zeros(len(x), 4)

    def make(inputs: int, outputs: int) -> nn.Module:
        return inner if inputs == 2 else Nothing()

    theirs = modules.GINCouplingBlock(
        [(5,)], subnet_constructor=make, clamp=2.0, clamp_activation="TANH"
    )
    ours = Coupling(2, VolumePreserving(BoundedExponential(math.exp(2))), inner)
    x = gaussian(7, (5,))
    (expected,), _ = theirs([x])
    torch.testing.assert_close(ours(x)[0], expected, rtol=1e-12, atol=1e-12)
    (back,), _ = theirs([expected], rev=True)
    torch.testing.assert_close(ours.inverse(expected)[0], back, rtol=1e-12, atol=1e-12)
