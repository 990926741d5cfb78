"""The verdict on measurements made by hand: what it says, whom it blames, what it suggests."""

import pytest

from harness.adapters.failures import Failure
from harness.diagnosis.blocks import CURES, LOCAL, RANGE, kind
from harness.diagnosis.findings import Findings
from harness.diagnosis.state import digits_lost
from harness.diagnosis.verdict import verdict
from harness.record import Measurement
from tests.diagnosis.measured import INF, NAN, findings, layer, one, reconstruction

AFFINE = "Coupling: Affine, Sigmoid"
FINE = (
    "in float32 it is invertible on its data (worst relative error 1e-06); off-distribution it "
    "stays invertible"
)


def test_a_healthy_network_is_invertible_and_nothing_is_to_be_cured() -> None:
    told = verdict(findings())
    assert told.sentence == (
        "in float32 it is invertible on its data (worst relative error 1e-06); "
        "off-distribution it stays invertible."
    )
    assert (told.invertible, told.culprits, told.cures) == (True, (), ())


CASES: dict[str, tuple[Findings, str, tuple[int, ...], bool, tuple[str, ...]]] = {
    "digits are lost where a scale is tiny": (
        findings(
            *reconstruction("test", 1e-6, 0.1),
            *reconstruction("times_10", 1e-3, 3.0, 0.4),
            layers=[
                layer(1, "inverse_worst", 3e5),
                layer(1, "scale_smallest", 3e-6),
                layer(1, "accumulated_non_finite_fraction", 0.4, "times_10", "float32"),
                layer(0, "accumulated_non_finite_fraction", 0.4, "times_10", "float32"),
            ],
        ),
        f"on its data the inverse loses 6 of float32's 7 digits at layer 1 of 3, {AFFINE}, whose "
        "scale reaches 3e-06; off-distribution (times_10) the inverse overflows on 40 % of inputs.",
        (1,),
        False,
        (CURES["affine"], LOCAL, RANGE),
    ),
    "another layer is to blame off the data": (
        findings(
            *reconstruction("uniform", 1e-3, 0.5),
            layers=[layer(2, "inverse_worst", INF, "uniform")],
        ),
        "in float32 it is invertible on its data (worst relative error 1e-06); off-distribution "
        "(uniform) it loses 7 of 7 digits at layer 2 of 3, LULinear, whose inverse stretches "
        "errors without bound.",
        (2,),
        True,
        (CURES["linear"], RANGE),
    ),
    "an inverse that is none": (
        findings(
            *reconstruction("test", 0.5, 0.9),
            *reconstruction("test", 0.5, 0.9, precision="float64"),
            one("log_det", "jacobian_gap_median", 2.5, precision="float64"),
            layers=[
                layer(1, "inverse_worst", 1e6),
                layer(2, "round_trip_l2_median", 0.5),
                layer(2, "round_trip_l2_median", 0.5, precision="float32"),
                layer(0, "round_trip_l2_median", 0.1),
                layer(0, "round_trip_l2_median", 0.1, precision="float32"),
            ],
        ),
        "its inverse is not its inverse: in float64 too it misses by 50 % of an input's norm at "
        "layer 2 of 3, LULinear (as is 1 more), whose own round trip misses by 0.5 in float64 too; "
        "off-distribution it is no worse; its log-det is wrong by 2.5 nats, in float64 too.",
        (2,),
        False,
        (CURES["unknown"], "no likelihood of it means anything before its log-det is right"),
    ),
    "rounding that float64 removes is no wrong inverse": (
        findings(
            *reconstruction("test", 0.5, 0.9),
            *reconstruction("test", 2e-3, 0.01, precision="float64"),
            layers=[
                layer(1, "round_trip_l2_median", 2e-3),
                layer(1, "round_trip_l2_median", 0.5, precision="float32"),
                layer(1, "inverse_worst", 1e6),
            ],
        ),
        f"on its data the inverse loses 7 of float32's 7 digits at layer 1 of 3, {AFFINE}, whose "
        "inverse stretches errors up to 1e+06 times; off-distribution it is no worse.",
        (1,),
        False,
        (CURES["affine"], LOCAL),
    ),
    "the inverse overflows first where it is nearest to the latent": (
        findings(
            *reconstruction("test", 1e-6, 1e-5, 0.25),
            layers=[
                layer(0, "accumulated_non_finite_fraction", 0.25, precision="float32"),
                layer(1, "accumulated_non_finite_fraction", 0.25, precision="float32"),
                layer(1, "scale_smallest", 0.0),
            ],
        ),
        f"on its data the inverse overflows on 25 % of inputs at layer 1 of 3, {AFFINE}, whose "
        "scale reaches 0; off-distribution it is no worse.",
        (1,),
        False,
        (CURES["affine"], LOCAL),
    ),
    "already the forward pass overflows": (
        findings(
            *reconstruction("test", NAN, NAN, 1.0),
            layers=[
                layer(1, "output_non_finite_fraction", 1.0, precision="float32"),
                layer(2, "output_non_finite_fraction", 1.0, precision="float32"),
                layer(2, "accumulated_non_finite_fraction", 1.0, precision="float32"),
                layer(1, "scale_largest", 1e30),
            ],
        ),
        "on its data already the forward pass overflows on 100 % of inputs at layer 1 of 3, "
        f"{AFFINE}, whose scale reaches 1e+30; off-distribution it is no worse.",
        (1,),
        False,
        (CURES["affine"], LOCAL),
    ),
    "what raises is named": (
        findings(
            *reconstruction("test", 1e-6, 1e-5, 0.03),
            layers=[layer(1, "accumulated_non_finite_fraction", 0.03, precision="float32")],
            failures={
                Failure("inverse", AFFINE, "AssertionError", "float32", 1): 3,
                Failure("inverse", AFFINE, "IndexError", "bfloat16", 1): 30,
                Failure("forward", "LULinear", "x", "float32", 2): 10,
            },
        ),
        f"on its data it fails on 3 % of inputs at layer 1 of 3, {AFFINE}, whose inverse raises "
        "AssertionError; off-distribution it is no worse.",
        (1,),
        False,
        (CURES["affine"], LOCAL),
    ),
    "what raised on inputs that the profile did not see": (
        findings(
            *reconstruction("uniform", 1e-6, 1e-5, 0.03),
            layers=[layer(1, "inverse_worst", 1e4, "uniform")],
            failures={
                Failure("inverse", "LULinear", "ValueError: no", "float32", 2): 3,
                Failure("inverse", AFFINE, "IndexError", "bfloat16", 1): 30,
            },
        ),
        "in float32 it is invertible on its data (worst relative error 1e-06); off-distribution "
        "(uniform) it fails on 3 % of inputs at layer 2 of 3, LULinear, whose inverse raises "
        "ValueError: no.",
        (2,),
        True,
        (CURES["linear"], RANGE),
    ),
    "an iteration that does not end": (
        findings(
            *reconstruction("test", 1e-3, 5e-3),
            one("reconstruction", "not_converged_fraction", 0.002),
        ),
        "on its data the inverse does not converge for less than 1 % of inputs at layer 0 of 3, "
        "ActNorm; off-distribution it is no worse.",
        (0,),
        False,
        (CURES["normalisation"], LOCAL),
    ),
    "samples and the log-det in float32": (
        findings(
            one("sampling", "blown_up_fraction", 0.4, "temperature_1"),
            one("log_det", "jacobian_gap_median", 12.0),
        ),
        "in float32 it is invertible on its data (worst relative error 1e-06); off-distribution it "
        "stays invertible; 40 % of its samples blow up; its log-det is off by 12 nats in float32.",
        (),
        True,
        (),
    ),
    "an adversary finds what chance does not": (
        findings(
            one("attack", "linf_pgd_failed_fraction", 0.75),
            one("attack", "linf_random_failed_fraction", 0.0),
            one("attack", "l2_pgd_failed_fraction", 0.5),
            one("attack", "l2_random_failed_fraction", 0.0),
        ),
        f"{FINE}; an adversary makes it fail on 75 % of inputs within a quarter of the data's "
        "range, and chance on none.",
        (),
        True,
        (),
    ),
    "what chance finds as well is no adversary's": (
        findings(
            one("attack", "l2_pgd_failed_fraction", 0.5),
            one("attack", "l2_random_failed_fraction", 0.5),
        ),
        f"{FINE}.",
        (),
        True,
        (),
    ),
    "a singular value that float32 does not resolve": (
        findings(
            one("bi_lipschitz", "unresolved_in_float32_fraction", 0.25, precision="float64"),
            one("bi_lipschitz", "condition_number_worst", 1e9, precision="float64"),
        ),
        f"{FINE}; float32 does not resolve its least singular value on 25 % of inputs (the "
        "condition number reaches 1e+09).",
        (),
        True,
        (),
    ),
    "bounds that do not hold": (
        findings(
            one("certificates", "violated_inverse", 1.0, "data_box", "float64"),
            one("certificates", "violated_inverse", 1.0, "none", "float64"),
            one("certificates", "violated_forward", 0.0, "none", "float64"),
        ),
        f"{FINE}; its own bound of its inverse Lipschitz constant does not hold.",
        (),
        True,
        (),
    ),
    "too much mass": (
        findings(
            one("normalization", "integral", 1.2, "wide_box", "float64"),
            one("normalization", "integral_error", 1e-3, "wide_box", "float64"),
            one("normalization", "edge_mass", 0.1, "wide_box", "float64"),
        ),
        f"{FINE}; its density has the mass 1.2 and not 1, so that its log-det is wrong.",
        (),
        True,
        ("no likelihood of it means anything before its log-det is right",),
    ),
    "mass that lies outside of the box is not missing": (
        findings(
            one("normalization", "integral", 0.8, "wide_box", "float64"),
            one("normalization", "integral_error", 1e-3, "wide_box", "float64"),
            one("normalization", "edge_mass", 0.1, "wide_box", "float64"),
        ),
        f"{FINE}.",
        (),
        True,
        (),
    ),
    "a mass within its own error": (
        findings(
            one("normalization", "integral", 0.8, "samples", "float64"),
            one("normalization", "integral_error", 0.04, "samples", "float64"),
        ),
        f"{FINE}.",
        (),
        True,
        (),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict(case: str) -> None:
    found, sentence, blamed, invertible, cures = CASES[case]
    told = verdict(found)
    assert told.sentence == sentence
    assert tuple(who.layer for who in told.culprits) == blamed
    assert told.invertible == invertible
    assert told.cures == cures


def test_without_a_log_det_nothing_is_said_of_one() -> None:
    told = verdict(findings(has_log_det=False))
    assert told.sentence.endswith("its code gives no log-det.")


def test_without_layers_the_verdict_is_of_the_whole() -> None:
    found = findings(*reconstruction("test", 0.1, 0.5, precision="float64"))
    found = Findings(
        (*found.measurements, *reconstruction("test", 0.1, 0.5)), (), 1.0, 2, found.sets
    )
    told = verdict(found)
    assert told.sentence.startswith(
        "its inverse is not its inverse: in float64 too it misses by 10 % of an input's norm; "
    )
    assert told.culprits == ()


def test_a_network_that_could_not_be_measured_is_not_called_invertible() -> None:
    nothing: tuple[Measurement, ...] = ()
    found = Findings(nothing, (), 1.0, 2, ("test",), raised={"reconstruction": "ValueError: no"})
    told = verdict(found)
    assert not told.invertible
    assert told.sentence == "whether it is invertible is not known: ValueError: no."


@pytest.mark.parametrize("scale", [1.0, 1e-3, 100.0])
def test_errors_are_relative_to_the_data(scale: float) -> None:
    found = findings(*reconstruction("test", 1e-8 * scale, 1e-5 * scale))
    told = verdict(Findings(found.measurements, found.layers, scale, 2, ("test",)))
    assert told.invertible
    assert "1e-05" in told.sentence


@pytest.mark.parametrize(
    ("relative", "lost"),
    [(0.0, 0), (1e-8, 0), (1e-7, 0), (1e-6, 1), (1e-4, 3), (0.1, 6), (1.0, 7), (1e9, 7), (NAN, 7)],
)
def test_digits_lost(relative: float, lost: int) -> None:
    assert digits_lost(relative) == lost


@pytest.mark.parametrize(
    ("block", "what"),
    [
        ("nflows PiecewiseRationalQuadraticCouplingTransform", "spline"),
        ("zuko MaskedAutoregressiveTransform: MonotonicRQSTransform", "spline"),
        ("FrEIA OrthogonalTransform", "orthogonal"),
        ("normflows AffineCouplingBlock: exp", "affine"),
        ("FrEIA GLOWCouplingBlock", "affine"),
        ("Coupling: Additive", "additive"),
        ("FrEIA NICECouplingBlock", "additive"),
        ("Residual", "residual"),
        ("NeuralODE", "ode"),
        ("LULinear", "linear"),
        ("ActNorm", "normalisation"),
        ("MyOwn", "unknown"),
    ],
)
def test_the_kind_of_a_block(block: str, what: str) -> None:
    assert kind(block) == what
    assert CURES[what]
