"""Suite files: validated, expanded into cells, planned."""

from harness.suite.cell import IDENTITY_VERSION, Cell
from harness.suite.load import LoadedSuite, load, suites
from harness.suite.model import Resources, Suite, Training
from harness.suite.plan import Done, Expected, Plan, Planned, Why, plan
from harness.suite.schema import json_schema

__all__ = [
    "IDENTITY_VERSION",
    "Cell",
    "Done",
    "Expected",
    "LoadedSuite",
    "Plan",
    "Planned",
    "Resources",
    "Suite",
    "Training",
    "Why",
    "json_schema",
    "load",
    "plan",
    "suites",
]
