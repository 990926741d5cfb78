"""Networks for tests: built by the registry, with weights away from their zero start."""

import functools
from typing import Any

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.conformance.candidate import perturb
from harness.conformance.registered import refusal
from harness.registry import Choice, Shape
from harness.seeding import generator

__all__ = ["cases", "fits", "gaussian", "network", "normal_log_prob", "perturb"]

SHAPES: tuple[Shape, ...] = ((2,), (5,), (1, 8, 8))

SPLINE = {"name": "rational_quadratic_spline", "bins": 4}
MIXTURE = {"name": "mixture_of_logistics", "components": 2}
# An architecture is tested with each scale map; others by their defaults.
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "affine": (
        *({"scale": name, "couplings": 4} for name in registry.names("scale_map")),
        {"couplings": 4, "order": "shift_first", "split": "alternating"},
        {
            "couplings": 4,
            "volume_preserving": True,
            "conditioner": "residual_mlp",
            "batch_norm": True,
        },
    ),
    "additive": (
        {"couplings": 4},
        {"couplings": 3, "mixing": "lu", "actnorm": False},
        {"couplings": 3, "split": "alternating", "conditioner": "residual_mlp"},
        {"couplings": 2, "width": 8, "mixing": "reverse"},
    ),
    "glow": (
        {"steps": 2, "width": 8},
        {"steps": 1, "width": 8, "transformer": "additive"},
        {"steps": 2, "width": 8, "split": "checkerboard"},
        {"steps": 1, "width": 4, "levels": 1, "mixing": "householder", "transformer": SPLINE},
        {"steps": 1, "width": 4, "levels": 1, "transformer": MIXTURE},
    ),
    "ffjord": ({"steps": 3, "width": 6, "corrections": 6},),
    "ffjord_adaptive": ({"width": 4, "layers": 1, "tolerance": 1e-2, "corrections": 5},),
    "bilipnet": ({"blocks": 2, "width": 6, "layers": 2},),
    "bit_exact": ({"couplings": 3, "width": 8},),
    "flow_plus_plus": ({"couplings": 2, "width": 8, "components": 4},),
    "momentum_residual": ({"steps": 3, "width": 8},),
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
    "residual": (
        {"blocks": 2, "width": 8},
        {"blocks": 2, "width": 3, "coefficient": 0.5},
        {"blocks": 1, "width": 4, "activation": "clip_swish", "log_det": "series", "terms": 3},
    ),
    "iaf": ({"blocks": 1, "width": 8}, {"blocks": 1, "width": 8, "transformer": "additive"}),
    "maf": (
        {"blocks": 2, "width": 8, "order": "random"},
        {
            "blocks": 2,
            "width": 8,
            "transformer": "additive",
            "mixing": "svd",
            "batch_norm": True,
        },
    ),
    "reversible_ode": ({"blocks": 1, "width": 6, "steps": 3},),
    "revnet": ({"levels": 1, "blocks": 1, "width": 4},),
    "reversible_transformer": ({"blocks": 1, "width": 4},),
    "free_form": ({"width": 4},),
    "tarflow": ({"blocks": 2, "width": 8},),
}


def fits(choice: Choice, shape: Shape) -> bool:
    """Whether an architecture takes a shape, as far as its entry says."""
    return refusal(registry.get("architecture", choice.name).refuses, choice, shape) is None


@functools.cache
def cases() -> dict[str, tuple[Choice, Shape]]:
    """Every registered architecture, in its variants, on every shape that it takes."""
    found = {}
    for name in registry.names("architecture"):
        for variant in VARIANTS.get(name, ({},)):
            choice = registry.resolve("architecture", {"name": name, **variant})
            for shape in SHAPES:
                if fits(choice, shape):
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
