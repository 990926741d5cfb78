"""Numbers that may change only with a version: of the entry, or of the protocol all cells share.

A stored cell is never run again, so a change that moves these without raising a version would mix
old and new numbers in one store. If a change means to move them, raise the version and pin anew.
"""

import pytest

from harness import registry
from harness.suite.cell import Cell
from harness.suite.model import Training
from tests.cells import run_alone

# bits or nats of the test set, and the worst float64 Lipschitz constant there, after five steps
GOLDEN: dict[str, tuple[float, float]] = {
    "additive": (3.572486621741266, 0.7947128254283133),
    "affine": (3.587691959591663, 0.7758902880795356),
    "ffjord": (3.6211921076999936, 0.8342383738176383),
    "ffjord_adaptive": (3.6211921079391143, 0.8342383738735919),
    "bilipnet": (4.536318753190091, 2.6810645730521663),
    "bit_exact": (3.8877668517438186, 1.0298638840732557),
    "flow_plus_plus": (3.439884003087703, 1.040975101257236),
    "glow": (12.777583566068405, 6.054335209921316),
    "neural_spline_flow": (3.4172762990483254, 1.0285970103917266),
    "i_densenet": (22.393116370943897, 3.1438477776721405),
    "residual_flow": (23.196043681391338, 3.000440245402271),
    "residual_image": (22.944835643241003, 2.9577104343270832),
    "reversible_transformer": (62.1170068386366, 1.5033598836982671),
    "revnet": (62.212251204199134, 1.1078874541299837),
    "free_form": (3.8597049113585458, 0.9951839393858499),
    "iaf": (3.7016095931610655, 0.9513754226690594),
    "maf": (3.6086934361103467, 0.730198343440699),
    "tarflow": (33.2904159236405, 2.066156037273185),
    "reversible_ode": (3.587686180903483, 0.7703844132724285),
    "momentum_residual": (5.474883480465625, 1.042456055408647),
    "residual": (3.5865652192368556, 0.815948134910587),
}

# of other tasks: the score after five steps, of a network of vectors
GOLDEN_SCORES = {
    ("classification", "digits", "cross_entropy"): 2.349681402068639,
    ("regression", "toy_regression", "mean_squared_error"): 0.446679457752693,
    ("adversarial", "eight_gaussians", "energy_distance"): 0.07469889006427133,
}


IMAGES = {
    "glow",
    "i_densenet",
    "residual_flow",
    "residual_image",
    "reversible_transformer",
    "revnet",
    "tarflow",
}


def cell(architecture: str, task: str = "density", dataset: str = "") -> Cell:
    data = dataset or ("digits" if architecture in IMAGES else "eight_gaussians")
    choices = {
        "task": task,
        "architecture": architecture,
        "regularizer": "none",
        "dataset": data,
    }
    return Cell(
        **{axis: registry.resolve(axis, name) for axis, name in choices.items()},
        probes=(registry.resolve("probe", {"name": "bi_lipschitz", "points": 8}),),
        training=Training(steps=5, batch_size=32, precision="float64"),
        seed=3,
    )


def numbers(architecture: str) -> tuple[float, float]:
    record = run_alone(cell(architecture))
    found = {(m.metric, m.inputs): m.value for m in record.measurements}
    return found["negative_log_likelihood", "test"], found["forward_worst", "uniform"]


@pytest.mark.parametrize("architecture", registry.names("architecture"))
def test_numbers_are_those_of_the_version(architecture: str) -> None:
    # Looser than float64 rounding, for other processors; far tighter than any change of method.
    assert numbers(architecture) == pytest.approx(GOLDEN[architecture], rel=1e-6)


@pytest.mark.parametrize("names", GOLDEN_SCORES, ids="-".join)
def test_scores_of_other_tasks_are_those_of_the_version(names: tuple[str, str, str]) -> None:
    task, dataset, metric = names
    found = {m.metric: m.value for m in run_alone(cell("affine", task, dataset)).measurements}
    assert found[metric] == pytest.approx(GOLDEN_SCORES[names], rel=1e-6)


def test_every_task_is_here() -> None:
    assert {"density", *(task for task, _, _ in GOLDEN_SCORES)} == set(registry.names("task"))
