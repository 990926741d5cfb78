"""SQL from anyone, over a store: it may read the views and nothing else, and can write nothing.

Two walls, each enough for most attacks; docs/decisions/sql-sandbox.md says why there are two.
The first is a closed list: DuckDB parses the statement, and whatever in its syntax tree is not
known here to be a harmless part of a query is refused. The second is DuckDB's own: no access to
files but below the store, no extensions, no Python variables, a locked configuration.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from harness.errors import InputError, allowed_and_nearest
from harness.results import layout
from harness.results.query import VIEWS, connect, unreadable
from harness.results.table import Table

ALLOWED = (
    f"SQL here may read the views {', '.join(VIEWS)} and nothing else, "
    "in one SELECT (or DESCRIBE, SUMMARIZE, SHOW TABLES, EXPLAIN)"
)
TABLE_FUNCTIONS = frozenset({"generate_series", "json_each", "json_tree", "range", "unnest"})
# They read the environment or the settings, or write a log.
REFUSED_FUNCTIONS = frozenset(
    {
        "current_setting",
        "getenv",
        "getvariable",
        "nextval",
        "pg_sleep",
        "setval",
        "sleep_ms",
        "write_log",
    }
)
# Since DuckDB 2.0 a SELECT may hold COPY, INSERT, … in its WITH: the kind of statement says little.
_QUERY_NODES = frozenset({"CTE_NODE", "RECURSIVE_CTE_NODE", "SELECT_NODE", "SET_OPERATION_NODE"})
_TABLE_NODES = frozenset(
    {
        "BASE_TABLE",
        "EMPTY",
        "EXPRESSION_LIST",
        "JOIN",
        "PIVOT",
        "SHOW_REF",
        "SUBQUERY",
        "TABLE_FUNCTION",
    }
)
_SORT_NODES = frozenset({"ASCENDING", "DESCENDING", "ORDER_DEFAULT"})
_KNOWN_NODES = _QUERY_NODES | _TABLE_NODES | _SORT_NODES
_PLAIN_NAME = re.compile(r"\w+")
_EXPLAIN = re.compile(r"\s*explain\s+(analyze\s+)?", re.IGNORECASE)


def run_sql(store: Path, sql: str) -> Table:
    """Run one query that a person wrote.

    Raises:
        InputError: There is no such store, the SQL does more than read the views, or is wrong.
    """
    connection = connect(store)
    folder = layout.require_store(store)
    try:
        _confine(connection, folder)
        query = _checked(connection, sql, folder)
        try:
            connection.execute(query)
            described = connection.description or []
            rows = tuple(connection.fetchall())
        except duckdb.Error as error:
            raise _said(error, folder) from error
        except (OverflowError, ValueError) as error:
            hint = "cast it to VARCHAR"
            raise InputError(f"a value is too large to be shown here: {error}; {hint}") from error
    finally:
        connection.close()
    return Table(
        columns=tuple(str(column[0]) for column in described),
        types=tuple(str(column[1]) for column in described),
        rows=rows,
    )


def _confine(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """The second wall: DuckDB's settings; the last of them makes them final."""
    connection.execute("set temp_directory = ''")
    connection.execute("set python_enable_replacements = false")
    connection.execute("set allow_community_extensions = false")
    connection.execute("set allow_persistent_secrets = false")
    connection.execute("set allowed_directories = [$folder]", {"folder": str(folder)})
    connection.execute("set enable_external_access = false")
    connection.execute("set lock_configuration = true")


def _checked(connection: duckdb.DuckDBPyConnection, sql: str, store: Path) -> str:
    """The first wall: the statement itself, if it is one query whose every part is known."""
    try:
        sql.encode()  # DuckDB's parser takes UTF-8, and says so in words for programmers
    except UnicodeEncodeError:
        raise InputError("this SQL holds bytes that are no text; write it in UTF-8") from None
    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise _said(error, store) from error
    if len(statements) != 1:
        found = f"{len(statements)} statements" if statements else "no statement"
        raise InputError(f"expected one statement, got {found}; {ALLOWED}")
    query, explain = statements[0].query, ""
    try:
        kind = statements[0].type
    except ValueError:  # a kind newer than DuckDB's own Python names, such as UPDATE EXTENSIONS
        raise InputError(f"this statement is not allowed; {ALLOWED}") from None
    if kind == duckdb.StatementType.EXPLAIN and (prefix := _EXPLAIN.match(query)):
        explain, query = prefix[0], query[prefix.end() :]
    elif kind == duckdb.StatementType.MULTI:
        hint = "a PIVOT needs its values named here: PIVOT … ON column IN (value, …)"
        raise InputError(f"{hint}; {ALLOWED}")
    elif kind != duckdb.StatementType.SELECT:
        raise InputError(f"{kind.name} is not allowed; {ALLOWED}")
    row = connection.execute("select json_serialize_sql($query)", {"query": query}).fetchone()
    try:
        tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    except RecursionError:
        raise InputError("this SQL is nested too deeply; please write it flatter") from None
    if tree["error"] or len(tree["statements"]) != 1:
        raise InputError(f"this is not a plain query; {ALLOWED}")
    nodes = list(_nodes(tree["statements"]))
    named = _given_names(connection, nodes)
    for node in nodes:
        _check(node, named)
    return explain + query


def _given_names(
    connection: duckdb.DuckDBPyConnection, nodes: list[dict[str, Any]]
) -> frozenset[str]:
    """Names that a WITH gives, in lower case.

    Where such a name is in scope is for DuckDB to decide, so that none of them may mean something
    else where it is not: neither a path nor one of DuckDB's own views, which show its settings.
    """
    own = connection.execute("select lower(view_name) from duckdb_views() where internal")
    taken = {row[0] for row in own.fetchall()}
    named = set()
    for node in nodes:
        for entry in node.get("cte_map", {}).get("map", ()):
            name = entry["key"].lower()
            if name in taken or not _PLAIN_NAME.fullmatch(name):
                raise InputError(f"WITH cannot name a query {entry['key']!r}; choose a plain name")
            named.add(name)
    return frozenset(named)


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Every mapping of a syntax tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _check(node: dict[str, Any], named: frozenset[str]) -> None:
    """Refuse a node that is not known to be harmless; ``named`` are the names that WITH gives."""
    kind = node.get("type")
    if node.get("class") == "FUNCTION" and node["function_name"].lower() in REFUSED_FUNCTIONS:
        raise InputError(f"the function {node['function_name']} is not allowed; {ALLOWED}")
    if "class" in node or not isinstance(kind, str):  # an expression, or no syntax of its own
        return
    if kind == "TABLE_FUNCTION":
        function = str(node["function"].get("function_name", "")).lower()
        if function not in TABLE_FUNCTIONS:
            raise InputError(f"the table function {function} is not allowed; {ALLOWED}")
    elif kind == "BASE_TABLE":
        _check_table(node, named)
    elif kind == "SHOW_REF":
        shown = node["table_name"].strip('"')
        if shown and shown not in ("tables", *VIEWS):
            raise InputError(f"SHOW {shown} is not allowed; {ALLOWED}")
    elif kind not in _KNOWN_NODES and not kind.endswith(("_MODIFIER", "_TYPE_INFO")):
        what = kind.removesuffix("_QUERY_NODE").replace("_", " ")
        raise InputError(f"{what} is not allowed; {ALLOWED}")


def _check_table(node: dict[str, Any], named: frozenset[str]) -> None:
    name = node["table_name"]
    known = named.union(VIEWS)
    path = node["qualified_name"]["path"]
    if name.lower() in known and path in ([name], ["main", name]):
        return
    if _PLAIN_NAME.fullmatch(name) and len(path) == 1:
        raise InputError(f"there is no view {name!r}; {allowed_and_nearest(name, known)}")
    raise InputError(f"{'.'.join(path)!r} is not a view; {ALLOWED}")


def _said(error: duckdb.Error, store: Path) -> InputError:
    """DuckDB's own words, without empty lines and the name of its exception."""
    if "pytz" in str(error):
        hint = "cast it to TIMESTAMP; views give UTC"
        return InputError(f"a TIMESTAMP WITH TIME ZONE cannot be shown here; {hint}")
    files = ("Parquet", "Failed to read file")  # the other is of files with different columns
    if isinstance(error, duckdb.IOException) or any(word in str(error) for word in files):
        return unreadable(error, store)
    if isinstance(error, duckdb.PermissionException):
        return InputError(f"this reaches beyond the views; {ALLOWED}")
    lines = [line for line in str(error).split("\n") if line.strip()]
    lines[0] = re.sub(r"^[A-Z]\w*( \w+)* Error: ", "", lines[0])
    return InputError("SQL: " + "\n".join(lines))
