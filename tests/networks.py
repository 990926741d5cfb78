"""Networks for tests: built by the registry, with weights away from their zero start."""

import functools
from typing import Any

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import perturb
from harness.registry import Choice, Combination, Shape
from harness.seeding import generator

__all__ = ["cases", "gaussian", "network", "normal_log_prob", "perturb"]

SHAPES: tuple[Shape, ...] = ((2,), (5,), (1, 8, 8))

# An architecture is tested with each scale map; others by their defaults.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "affine": (
        *({"scale": name, "couplings": 4} for name in registry.names("scale_map")),
        {"couplings": 4, "order": "shift_first", "split": "alternating"},
        {"couplings": 4, "volume_preserving": True, "conditioner": "residual_mlp"},
    ),
    "additive": (
        {"couplings": 4},
        {"couplings": 3, "mixing": "lu", "actnorm": False},
        {"couplings": 3, "split": "alternating", "conditioner": "residual_mlp"},
    ),
    "glow": (
        {"steps": 2, "width": 8},
        {"steps": 1, "width": 8, "transformer": "additive"},
        {"steps": 2, "width": 8, "split": "checkerboard"},
    ),
    "ffjord": ({"steps": 3, "width": 6, "corrections": 6},),
    "ffjord_adaptive": ({"width": 4, "layers": 1, "tolerance": 1e-2, "corrections": 5},),
    "flow_plus_plus": ({"couplings": 2, "width": 8, "components": 4},),
    "neural_spline_flow": (
        {"couplings": 2, "width": 8},
        {"couplings": 2, "width": 8, "maximum_slope": None, "mixing": "lu", "actnorm": False},
    ),
    "i_densenet": (
        {"blocks": 1, "growth": 4, "depth": 2},
        {"blocks": 1, "levels": 1, "growth": 3, "depth": 1, "activation": "elu"},
    ),
    "residual_flow": ({"blocks": 1, "width": 4},),
    "residual_image": (
        {"blocks": 1, "width": 4},
        {"blocks": 1, "levels": 1, "width": 4, "activation": "clip_swish"},
    ),
    "residual": ({"blocks": 2, "width": 8}, {"blocks": 2, "width": 3, "coefficient": 0.5}),
    "iaf": ({"blocks": 1, "width": 8}, {"blocks": 1, "width": 8, "transformer": "additive"}),
    "maf": (
        {"blocks": 2, "width": 8, "order": "random"},
        {"blocks": 2, "width": 8, "transformer": "additive"},
    ),
    "reversible_ode": ({"blocks": 1, "width": 6, "steps": 3},),
    "tarflow": ({"blocks": 2, "width": 8},),
}


def _fits(choice: Choice, shape: Shape) -> bool:
    refuses = registry.get("architecture", choice.name).refuses
    none, density = registry.resolve("regularizer", "none"), registry.resolve("task", "density")
    dataset = registry.resolve("dataset", "checkerboard")
    return refuses is None or refuses(Combination(density, choice, none, dataset, shape)) is None


@functools.cache
def cases() -> dict[str, tuple[Choice, Shape]]:
    """Every registered architecture, in its variants, on every shape that it takes."""
    found = {}
    for name in registry.names("architecture"):
        for variant in VARIANTS.get(name, ({},)):
            choice = registry.resolve("architecture", {"name": name, **variant})
            for shape in SHAPES:
                if _fits(choice, shape):
                    label = registry.label("architecture", choice)
                    found[f"{label} on {'x'.join(map(str, shape))}"] = choice, shape
    return found


def network(
    case: str, seed: int = 0, dtype: torch.dtype = torch.float64
) -> tuple[Bijection, Shape]:
    """The network of a case, perturbed."""
    choice, shape = cases()[case]
    flow: Bijection = registry.build("architecture", choice, shape, generator(seed, "test"))
    perturb(flow, seed)
    return flow.to(dtype), shape


def normal_log_prob(x: torch.Tensor) -> torch.Tensor:
    """``log N(x; 0, 1)`` of each entry, by PyTorch's own distribution."""
    normal = torch.distributions.Normal(x.new_zeros(()), x.new_ones(()))
    return normal.log_prob(x)  # type: ignore[no-any-return, no-untyped-call]


def gaussian(count: int, shape: Shape, seed: int = 0, scale: float = 1.0) -> torch.Tensor:
    """Gaussian inputs in float64."""
    source = generator(seed, "inputs")
    return scale * torch.randn(count, *shape, generator=source, dtype=torch.float64)
