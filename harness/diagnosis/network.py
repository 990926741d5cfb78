"""The network that is diagnosed: found, built, adapted, and held against what it was given."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from harness import registry
from harness.adapters.adapt import adapted, input_shape
from harness.adapters.failures import Failure
from harness.adapters.foreign import Foreign, failures_of
from harness.bijections.base import Bijection
from harness.bijections.path import layers
from harness.errors import InputError
from harness.registry import Shape, UnresolvedError
from harness.registry.imported import ImportedFactory, imported
from harness.seeding import generator

FIRST, TRIED = 256, 8
"""Inputs of the first call, which may be what some normalisation is initialised from, and of the
others."""


@dataclass(frozen=True)
class Network:
    """A network that can be run both ways on the inputs it was given.

    Attributes:
        name: How it is called.
        flow: The bijection, in evaluation mode and float32.
        has_log_det: Whether its code gives a log-det.
    """

    name: str
    flow: Bijection
    has_log_det: bool


class Candidate:
    """What ``module:factory``, or an architecture's name, stands for, before its shape is known.

    Args:
        name: Of either.

    Raises:
        InputError: There is no such thing.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.flow: Bijection | None = None
        self.factory: Any = None
        self.shape: Shape | None = None
        if ":" in name:
            self.factory = ImportedFactory(name, imported(name))
            if not self.factory.takes:
                built = self._build(())
                self.flow = self._adapted(built)
                self.shape = input_shape(built)
            return
        try:
            choice = registry.resolve("architecture", name)
        except UnresolvedError as error:
            message = f"{error} (a network of your own: module:factory)"
            raise InputError(message) from None
        self.factory = lambda shape, source: registry.build("architecture", choice, shape, source)

    def network(self, shape: Shape, x: Tensor) -> Network:
        """The network for inputs of that shape.

        Args:
            shape: Of one input.
            x: Some inputs.

        Raises:
            InputError: It cannot be built, is no bijection of such inputs, or draws noise.
        """
        if self.shape is not None and self.shape != tuple(shape):
            message = f"takes inputs of shape {self.shape}, and the data's are {tuple(shape)}"
            raise InputError(f"{self.name} {message}")
        flow = self.flow or self._adapted(self._build(shape))
        flow = flow.to(torch.float32).eval()
        return Network(self.name, flow, checked(self.name, flow, x))

    def _adapted(self, built: Any) -> Bijection:
        try:
            return adapted(built)
        except TypeError as error:
            raise InputError(f"{self.name}: {error}") from None
        except (ImportError, AttributeError) as error:
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            library = type(built).__module__.split(".")[0]
            message = f"this version of {library} is not known ({said})"
            raise InputError(f"{self.name}: {message}") from None

    def _build(self, shape: Shape) -> Any:
        source = generator(0, "initialisation")
        try:
            raw = getattr(self.factory, "raw", self.factory)
            return raw(shape, source)
        except Exception as error:
            said = f"{type(error).__name__}: {error}".split("\n")[0]
            on = f" on the shape {tuple(shape)}" if shape else ""
            raise InputError(f"{self.name} cannot be built{on}: {said}") from None


@torch.no_grad()
def checked(name: str, flow: Bijection, x: Tensor) -> bool:
    """Whether it gives a log-det; or what keeps it from being a bijection of these inputs.

    Raises:
        InputError: It cannot be run on them forward or backward, gives other shapes, or gives
            something else the second time.
    """
    _called(name, "forward", flow, x[:FIRST])
    x = x[:TRIED]
    y, log_det = _called(name, "forward", flow, x)
    again, _ = _called(name, "forward", flow, x)
    if not torch.equal(y.nan_to_num(), again.nan_to_num()):
        message = "its forward gives something else the second time: noise, or a hidden state"
        raise InputError(f"{name}: {message}")
    size, latent = x[0].numel(), y[0].numel()
    if size != latent:
        message = f"maps {size} numbers to {latent}, so that no inverse can lead back"
        raise InputError(f"{name} {message}")
    back, _ = _called(name, "inverse", flow, y)
    if back.shape != x.shape:
        shapes = f"{tuple(back.shape[1:])}, and its inputs are {tuple(x.shape[1:])}"
        raise InputError(f"{name}: its inverse gives the shape {shapes}")
    return not bool(log_det.isnan().all()) or bool(y.flatten(1).isnan().any(1).all())


def _called(name: str, direction: str, flow: Bijection, x: Tensor) -> tuple[Tensor, Tensor]:
    run = flow if direction == "forward" else flow.inverse
    before = failures_of(flow)
    try:
        y, log_det = run(x)
    except Exception as error:
        said = f"{type(error).__name__}: {error}".split("\n")[0].rstrip(": ")
        message = f"its {direction} fails on inputs of shape {tuple(x.shape[1:])}: {said}"
        raise InputError(f"{name}: {message}") from None
    raised = failures_of(flow) - before
    # Of the inverse it is a result; a forward that refuses every input was given the wrong data.
    if direction == "forward" and sum(raised.values()) >= len(x):
        one, _ = raised.most_common(1)[0]
        what = f"its forward raises on every input, at {one.block}: {one.said}"
        raise InputError(f"{name}: {what} (is the data in its range?)")
    return y, log_det


def forgotten(flow: nn.Module) -> Counter[Failure]:
    """What has raised so far; from here on it counts anew."""
    total = failures_of(flow)
    for part in flow.modules():
        if isinstance(part, Foreign):
            part.failures.counts.clear()
    return total


def numbered(flow: Bijection) -> None:
    """Tell each layer of somebody else's its place, which its failures then bear."""
    for layer in layers(flow):
        if isinstance(layer.bijection, Foreign):
            layer.bijection.failures.layer = layer.place
