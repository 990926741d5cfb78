"""Networks of other libraries that are no longer invertible: each verdict names its culprit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from harness import registry
from harness.diagnosis.blocks import CURES
from harness.diagnosis.diagnose import diagnose
from tests.command import Command
from tests.diagnosis import zoo

SPLINE = "nflows PiecewiseRationalQuadraticCouplingTransform"

CASES: dict[str, tuple[bool, str, tuple[str, ...], str]] = {
    "freia_orthogonal": (
        False,
        "FrEIA OrthogonalTransform",
        (
            "its inverse is not its inverse: in float64 too it misses by ",
            "FrEIA OrthogonalTransform (as is 1 more), whose own round trip misses by ",
            "its log-det is wrong by ",
        ),
        "orthogonal",
    ),
    "zuko_nsf": (
        False,
        "zuko MaskedAutoregressiveTransform: MonotonicRQSTransform",
        ("of float32's 7 digits at layer ", "off-distribution (", "loses 7 of 7 digits"),
        "spline",
    ),
    "normflows_exp": (
        True,
        "normflows AffineCouplingBlock: exp",
        ("off-distribution (times_10)", "AffineCouplingBlock: exp, whose scale reaches ",
         "of its samples blow up"),
        "affine",
    ),
    "nflows_spline": (
        False,
        SPLINE,
        ("loses 7 of float32's 7 digits at layer ", f"{SPLINE}, whose inverse raises Assertion"),
        "spline",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("default")  # theirs
@pytest.mark.parametrize("name", CASES)
def test_the_verdict_names_the_culprit(name: str) -> None:
    invertible, block, said, cure = CASES[name]
    found = diagnose(f"tests.diagnosis.zoo:{name}")
    told = found.verdict
    assert told.invertible == invertible
    assert {who.block for who in told.culprits} == {block}
    assert all(who.layer >= 0 for who in told.culprits)
    for part in said:
        assert part in told.sentence
    assert told.cures[0] == CURES[cure]
    assert found.found.raised == {}


@pytest.mark.filterwarnings("default")
def test_the_report_its_json_and_its_picture(innbench: Command, tmp_path: Path) -> None:
    torch.manual_seed(0)
    np.save(tmp_path / "x.npy", zoo.two_clusters(300).numpy())
    arguments = ["diagnose", "tests.diagnosis.zoo:normflows_exp", "--data", "x.npy"]
    said = innbench(*arguments, "--points", "8", "--picture", "p.png")
    assert said.code == 0, said.err
    head, *_ = said.out.split("\n")
    assert head.endswith("on the shape 4, 300 rows of x.npy, on cpu")
    assert "\nIn float32 it is invertible on its data" in said.out
    assert "\nlayer  block " in said.out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    *progress, suggested = said.err.splitlines()
    probes = registry.names("probe")
    assert [line.split(": ")[0] for line in progress] == [
        f"{number} of {len(probes)} · {probe}" for number, probe in enumerate(probes, 1)
    ]
    assert suggested == f"next: innbench {' '.join(arguments)} --json"
    plain: Any = json.loads(innbench(*arguments, "--points", "8", "--json").out)
    assert plain["verdict"] in said.out.lower() or plain["verdict"][1:] in said.out
    assert plain["invertible"] is True
    assert plain["shape"] == [4]
    assert {"probe", "metric", "value", "layer", "block"} <= plain["layers"][0].keys()
    assert plain["culprits"][0]["block"] == "normflows AffineCouplingBlock: exp"
    errors = {
        (m["inputs"], m["precision"]): m["value"]
        for m in plain["measurements"]
        if (m["probe"], m["metric"]) == ("reconstruction", "l2_worst_finite")
    }
    assert 0 < errors["test", "float64"] < 1e-9 < errors["test", "float32"] < 1e-3
