"""What a penalty needs of a network, asked when the suite is read."""

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

from harness import registry
from harness.bijections.base import Bijection
from harness.bijections.path import block_name, has_inverse, layers
from harness.bijections.transformers.elementwise import Transformer
from harness.registry import Choice, Combination, Shape

Answer = TypeVar("Answer")


@functools.lru_cache(maxsize=1024)
def _asked(question: Callable[[Bijection], Answer], architecture: str, shape: Shape) -> Answer:
    choice = Choice.model_validate_json(architecture)
    return question(registry.build("architecture", choice, shape, torch.Generator()))


def ask(question: Callable[[Bijection], Answer], combination: Combination) -> Answer | None:
    """The answer of the network that a combination builds.

    ``None`` where the architecture refuses the combination: it has said so itself.
    """
    choice = combination.architecture
    architecture = registry.get("architecture", choice.name)
    if architecture.refuses is not None and architecture.refuses(combination) is not None:
        return None
    answer: Answer = _asked(question, choice.model_dump_json(), combination.shape)
    return answer


def _without_inverse(flow: Bijection) -> str:
    """The first layer that has none, or nothing."""
    lacking = (one for one in layers(flow) if not has_inverse(one.bijection))
    return next((f"layer {one.place}, {block_name(one.bijection)}," for one in lacking), "")


def _differentiates_once(flow: Bijection) -> bool:
    return any(
        (isinstance(module, Bijection) and module.first_derivatives_only)
        or (isinstance(module, Transformer) and not module.closed_form)
        for module in flow.modules()
    )


def refuses_one_way(combination: Combination) -> str | None:
    """Why a penalty cannot run the inverse; ``None`` where it can.

    Conformance tests see to the inverses of the harness's own architectures, so only those of
    others are built.
    """
    architecture, name = combination.architecture.name, combination.regularizer.name
    if architecture in registry.BUILT_IN["architecture"]:
        return None
    try:
        lacking = ask(_without_inverse, combination)
    except TypeError as error:  # what is adapted has no inverse at all
        return f"{name} runs the inverse, but {error}"
    return f"{name} runs the inverse, and {lacking} of {architecture} has none" if lacking else None


def refuses_iterations(combination: Combination) -> str | None:
    """Why a penalty cannot differentiate the inverse twice; ``None`` where it can."""
    if (reason := refuses_one_way(combination)) is not None:
        return reason
    if not ask(_differentiates_once, combination):
        return None
    return (
        f"{combination.regularizer.name} differentiates the inverse twice, and that of "
        f"{combination.architecture.name} iterates and has first derivatives only; take "
        "finite_difference"
    )
