"""Name → entry, for every axis of the grid, from this package and from others.

An entry is one factory function in one file. Its positional parameters are what the harness
gives (a shape, a generator); its keyword-only parameters are what a suite may set, and their
annotations and defaults are the only place where they are declared. Presets are parameters under
a name: the settings of a paper, where the defaults are for a laptop.

Another package adds entries through the entry-point group ``innbench.<axis>``, for example
``[project.entry-points."innbench.architecture"] my_flow = "my_package.flows:my_flow"``.
A plug-in that cannot be imported is reported by :func:`broken` and otherwise ignored.
"""

from harness.registry.built_in import AXES, BUILT_IN
from harness.registry.entry import (
    EVERY,
    PRESET,
    Choice,
    Combination,
    Entry,
    Shape,
    UnresolvedError,
    entry,
    is_stored,
)
from harness.registry.imported import IMPORT, is_imported, search_in
from harness.registry.lookup import broken, get, names
from harness.registry.schema import (
    choice_schema,
    imported_schemas,
    preset_schema,
    value_or_list,
)
from harness.registry.settle import Nested, build, by_name, label, resolve, settled, written_out

__all__ = [
    "AXES",
    "BUILT_IN",
    "EVERY",
    "IMPORT",
    "PRESET",
    "Choice",
    "Combination",
    "Entry",
    "Nested",
    "Shape",
    "UnresolvedError",
    "broken",
    "build",
    "by_name",
    "choice_schema",
    "entry",
    "get",
    "imported_schemas",
    "is_imported",
    "is_stored",
    "label",
    "names",
    "preset_schema",
    "resolve",
    "search_in",
    "settled",
    "value_or_list",
    "written_out",
]
