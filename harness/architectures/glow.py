"""Glow for small images."""

from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field

from harness import registry
from harness.architectures.mixing import Mixing, mixed
from harness.bijections.base import Bijection
from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import convolutional_network
from harness.bijections.coupling.splits import Checkerboard, Halves
from harness.bijections.given import check_image
from harness.bijections.linear.actnorm import ActNorm
from harness.bijections.shape.multiscale import MultiScale
from harness.bijections.shape.reshape import Squeeze
from harness.bijections.transformers.elementwise import Transformer
from harness.bijections.transformers.spline_transformer import unfit_choice
from harness.registry import Combination, Nested, Shape, entry


def _refuses(combination: Combination) -> str | None:
    shape, parameters = combination.shape, combination.architecture.parameters
    levels, checkered = cast(int, parameters["levels"]), parameters["split"] == "checkerboard"
    if len(shape) != 3:
        return f"glow needs images (channels, height, width), and this dataset's shape is {shape}"
    factor = 2 ** (levels + checkered)  # what is left after all levels is parted once more
    if shape[1] % factor or shape[2] % factor:
        also = ", and parts what is left into the pixels of a checkerboard" if checkered else ""
        return (
            f"glow halves height and width at each of {levels} levels{also}, "
            f"which {shape} does not allow"
        )
    return unfit_choice(parameters["transformer"])


# As published for CIFAR-10: arXiv 1807.03039, whose code shifts first.
GLOW_CIFAR10 = {
    "transformer": {"name": "affine", "order": "shift_first"},
    "levels": 3,
    "steps": 32,
    "width": 512,
}
# Trained by likelihood on CIFAR-10 in arXiv 2006.09347, by its code: reversals for the 1×1
# convolution, scales in (0.01, 1.01). Its networks have ActNorm inside and its prior is learnt.
FLOORED = {
    "name": "affine",
    "scale": {"name": "sigmoid", "floor": 0.01},
    "order": "shift_first",
}
PAPER_CIFAR10 = {**GLOW_CIFAR10, "transformer": FLOORED, "mixing": "reverse"}
PAPER_CIFAR10_ADDITIVE = {**PAPER_CIFAR10, "transformer": "additive"}
# The generator of its FlowGAN.
PAPER_FLOWGAN = {**PAPER_CIFAR10, "steps": 8, "width": 128}
PRESETS = {
    "glow_cifar10": GLOW_CIFAR10,
    "paper_cifar10": PAPER_CIFAR10,
    "paper_cifar10_additive": PAPER_CIFAR10_ADDITIVE,
    "paper_flowgan": PAPER_FLOWGAN,
}


@entry(version=1, refuses=_refuses, presets=PRESETS)
def glow(
    shape: Shape,
    generator: torch.Generator,
    *,
    transformer: Annotated[dict[str, Any], Nested("transformer")] = "affine",  # type: ignore[assignment]
    levels: Annotated[int, Field(ge=1)] = 2,
    steps: Annotated[int, Field(ge=1)] = 4,
    width: Annotated[int, Field(ge=1)] = 32,
    split: Literal["channels", "checkerboard"] = "channels",
    mixing: Mixing = "lu",  # type: ignore[assignment]
) -> Bijection:
    """Glow: multi-scale, ActNorm, 1×1 convolution and coupling by a small convolutional network.

    Kingma & Dhariwal 2018, arXiv 1807.03039. ``transformer`` is the coupling, a spline's (arXiv
    1906.04032) or that of Flow++ (arXiv 1902.00275) too. ``steps`` is per level; ``mixing`` is
    the 1×1 convolution, or what stands in its place. A checkerboard is RealNVP's split (arXiv
    1605.08803): which pixels are kept alternates from step to step.
    """
    channels, height, width_of_image = check_image("glow", shape)
    parts, shapes = [], []
    # Where nothing else does, couplings take turns in what they keep.
    turns = split == "checkerboard" or mixing["name"] == "none"
    elementwise: Transformer = registry.build("transformer", transformer)
    for _ in range(levels):
        channels, height, width_of_image = 4 * channels, height // 2, width_of_image // 2
        parting = Halves(channels // 2) if split == "channels" else Checkerboard()
        kept, changed = parting.channels(channels)
        level: list[Bijection] = [Squeeze()]
        for number in range(steps):
            outputs = elementwise.parameters_per_element * changed
            conditioner = convolutional_network(kept, outputs, width, generator)
            swap = turns and number % 2 == 1
            level += [
                ActNorm(channels),
                *mixed(mixing, channels, generator),
                Coupling(parting, elementwise, conditioner, swap=swap),
            ]
        parts.append(Chain(level))
        shapes.append((channels, height, width_of_image))
        channels //= 2
    return MultiScale(parts, shapes)
