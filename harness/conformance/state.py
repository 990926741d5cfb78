"""Does a call leave traces, and is what a network is all in its state?"""

import io
from collections.abc import Mapping

import torch
from torch import Tensor

from harness.bijections.base import Bijection
from harness.conformance.candidate import Candidate, perturb
from harness.conformance.row import Row


def hidden_state(flow: Bijection, x: Tensor) -> list[Row]:
    """No call changes a parameter or a buffer, and a call gives what it gave before others.

    Args:
        flow: That has not been called before.
        x: At least two samples.
    """
    first, other = x[: len(x) // 2], x[len(x) // 2 :] * 3
    before = _copied(flow.state_dict())
    with torch.no_grad():
        forward = flow(first)
        inverse = flow.inverse(forward[0])
        flow.inverse(flow(other)[0])
        flow.bounds()
        after = _copied(flow.state_dict())
        # The inverse first: a forward pass on the same inputs would remind it.
        backward = flow.inverse(forward[0])
        again = flow(first), backward
    changed = [name for name in before | after if not _same(before.get(name), after.get(name))]
    named = f"a call changes {', '.join(changed)}" if changed else "a call changes nothing"
    rows = [Row.at_most("no call changes the state", len(changed), 0, named)]
    for name, one, two in zip(("forward", "inverse"), (forward, inverse), again, strict=True):
        differ = sum(int((~_equal(a, b)).sum()) for a, b in zip(one, two, strict=True))
        detail = f"after calls on other inputs, {differ} numbers differ from the first call's"
        rows.append(Row.at_most(f"two calls agree, {name}", differ, 0, detail))
    return rows


def building(candidate: Candidate) -> list[Row]:
    """Two networks of one seed are the same, whatever the global generator's state."""
    with torch.random.fork_rng(devices=[]):
        states = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            states.append(candidate.fresh().state_dict())
    differ = [name for name in states[0] if not _same(states[0][name], states[1].get(name))]
    detail = "all weights come from the generator that is given"
    if differ:
        detail = f"the global generator, not the one that is given, decides {', '.join(differ)}"
    return [Row.at_most("only the given generator is read", len(differ), 0, detail)]


def reload(candidate: Candidate, x: Tensor) -> list[Row]:
    """Saved after :meth:`initialize` and loaded into a network of another seed, it is the same.

    The file is read with ``weights_only=True``. The first call of the loaded network is on other
    inputs than it was initialised on, so that a lost flag shows.
    """
    flow = candidate.fresh(0)
    with torch.no_grad():
        flow.initialize(x)
    perturb(flow, 0)
    file = io.BytesIO()
    torch.save(flow.state_dict(), file)
    file.seek(0)
    again = candidate.fresh(1)
    check = "state_dict round trip"
    try:
        again.load_state_dict(torch.load(file, weights_only=True))
    except Exception as error:
        detail = f"a fresh network does not take it: {error}".split("\n")[0]
        return [Row(check, float("nan"), 0.0, passed=False, detail=detail)]
    other = 3 * x.flip(0) + 1
    rows = []
    with torch.no_grad():
        for mode in (False, True):
            flow.train(mode)
            again.train(mode)
            y = flow(other)
            pairs = [(y, again(other)), (flow.inverse(y[0]), again.inverse(y[0]))]
            differ = sum(
                int((~_equal(a, b)).sum())
                for one, two in pairs
                for a, b in zip(one, two, strict=True)
            )
            detail = f"{differ} numbers of the loaded network differ from the saved one's"
            named = "training" if mode else "evaluation"
            rows.append(Row.at_most(f"{check}, in {named} mode", differ, 0, detail))
    return rows


def _copied(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in state.items()}


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and a.shape == b.shape and bool(_equal(a, b).all())


def _equal(a: Tensor, b: Tensor) -> Tensor:
    """Entry by entry; NaN is NaN."""
    return (a == b) | ((a != a) & (b != b))  # noqa: PLR0124 - NaN of any dtype
