"""What overflows with aligned weights is held with milder ones, or the rows say that it is not."""

import torch

from harness.bijections.chain import Chain
from harness.bijections.coupling.coupling import Coupling
from harness.bijections.coupling.networks import mlp
from harness.bijections.scale_maps.exponentials import Exponential
from harness.bijections.shape.reshape import Flatten
from harness.bijections.transformers.elementwise import Additive, Affine, Transformer
from harness.conformance.bounds import bounds_of_aligned_parts
from harness.conformance.candidate import Candidate
from harness.conformance.row import Row

LARGE, MILD = (3.0, 20.0), (1.5, 5.0)


def rows(weights: list[tuple[float, float]], *transformers: Transformer) -> list[Row]:
    def build(generator: torch.Generator) -> Chain:
        networks = [mlp(1, one.parameters_per_element, 8, 1, generator) for one in transformers]
        pairs = zip(transformers, networks, strict=True)
        return Chain([Flatten((2,)), *(Coupling(1, one, network) for one, network in pairs)])

    candidate = Candidate("aligned", (2,), build)
    flows = (candidate.aligned(*one) for one in weights)
    return bounds_of_aligned_parts(flows, candidate.inputs(2))


def test_a_part_that_overflows_is_held_with_the_next_weights() -> None:
    found = rows([LARGE, MILD], Affine(Exponential()))
    assert all(row.passed for row in found)
    assert not any("left out" in row.detail for row in found)


def test_rows_say_how_many_parts_are_left_out() -> None:
    found = rows([LARGE], Additive(), Affine(Exponential()))
    assert all(row.passed for row in found)
    assert all("; 1 of 2 parts with layers left out" in row.detail for row in found)


def test_where_all_are_left_out_nothing_passes() -> None:
    (row,) = rows([LARGE], Affine(Exponential()))
    assert not row.passed
    assert "1 of 1 parts with layers left out" in row.detail
