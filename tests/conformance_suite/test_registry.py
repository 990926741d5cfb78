"""``innbench check`` of everything that is registered: each architecture, in its variants."""

import pytest

from harness import registry
from harness.conformance.registered import candidate
from harness.conformance.suite import conformance
from tests.conformance import assert_passed
from tests.networks import VARIANTS

CASES = [
    registry.resolve("architecture", {"name": name, **variant})
    for name in registry.names("architecture")
    for variant in VARIANTS.get(name, ({},))
]


@pytest.mark.parametrize("choice", CASES, ids=lambda choice: registry.label("architecture", choice))
def test_conforms_on_the_smallest_shape_it_takes(choice: registry.Choice) -> None:
    assert_passed(conformance(candidate(choice)))
