"""A YAML file as plain values that remember the lines they stand on.

YAML 1.2: ``1e-3`` is a number, ``none`` and ``off`` are text. Only plain values are made of it:
text, numbers, true and false, null, lists, mappings with text as keys.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from harness.errors import InputError, Key, Problem

MAX_BYTES = 1_000_000
MAX_VALUES = 100_000
MAX_DEPTH = 30

_TAG = "tag:yaml.org,2002:"
# YAML 1.2 has no dates and no merge keys: a resolver that still marks them means text.
_TEXT = {f"{_TAG}{kind}" for kind in ("str", "timestamp", "merge", "value")}
_COLLECTIONS = {f"{_TAG}map", f"{_TAG}seq"}


@dataclass(frozen=True)
class Document:
    """The content of one file.

    Attributes:
        file: Its name as it is shown to people.
        content: The outermost mapping.
        lines: The line of each value, by its key path.
        key_lines: The line of each key of a mapping, by the path of its value.
        problems: Mistakes that leave the rest readable: a key given twice, a strange tag.
    """

    file: str
    content: dict[str, Any]
    lines: dict[Key, int]
    key_lines: dict[Key, int]
    problems: tuple[Problem, ...] = ()

    def line(self, key: Key, *, of_key: bool = False) -> int:
        """Line of a value, or of its key; of what encloses it where it is not in the file."""
        while key:
            found = self.key_lines.get(key) if of_key else self.lines.get(key)
            found = found or self.lines.get(key)
            if found is not None:
                return found
            key = key[:-1]
        return self.lines[()]

    def problem(self, key: Key, message: str, *, of_key: bool = False) -> Problem:
        """A problem with its file and line."""
        return Problem(message, key, self.file, self.line(key, of_key=of_key))


def read(path: Path) -> Document:
    """Read one YAML file.

    Raises:
        InputError: It is not there, not text, not YAML, not a mapping, or far too large.
    """
    file = str(path)
    try:
        if path.is_dir():
            raise InputError([Problem("is a folder, not a suite file", file=file)])
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise InputError([Problem(f"cannot be read: {why}", file=file)]) from None
    if len(data) > MAX_BYTES:
        raise InputError([Problem(f"is larger than {MAX_BYTES} bytes", file=file)])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError([Problem("is not a text file in UTF-8", file=file, line=line)]) from None
    return parse(text, file)


def parse(text: str, file: str) -> Document:
    """Read YAML text; ``file`` is what problems call it.

    Raises:
        InputError: It is not YAML, not a mapping, or far too large.
    """
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except (YAMLError, RecursionError) as error:
        raise InputError([_syntax(error, text, file)]) from None
    if root is None:
        raise InputError([Problem("is empty", file=file, line=1)])
    if not isinstance(root, MappingNode):
        message = f"should be a mapping of keys to values, not {_kind(root)}"
        raise InputError([Problem(message, file=file, line=root.start_mark.line + 1)])
    reader = _Reader(file)
    content = reader.value(root, ())
    return Document(file, content, reader.lines, reader.key_lines, problems=tuple(reader.problems))


def _syntax(error: Exception, text: str, file: str) -> Problem:
    if isinstance(error, MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        parts = [part for part in (error.context, error.problem) if part]
        return Problem(f"is not YAML: {', '.join(parts)}", file=file, line=mark.line + 1)
    if isinstance(error, ReaderError):
        line = text.count("\n", 0, error.position) + 1
        message = f"is not YAML: the character {error.character!r} is not allowed"
        return Problem(message, file=file, line=line)
    message = "is nested too deeply" if isinstance(error, RecursionError) else "is not YAML"
    return Problem(message, file=file)


def _kind(node: Node) -> str:
    return "a list" if isinstance(node, SequenceNode) else f"the single value {node.value!r}"


@dataclass
class _Reader:
    """Turns composed nodes into plain values, one at a time, and keeps where they stood."""

    file: str
    lines: dict[Key, int] = field(default_factory=dict)
    key_lines: dict[Key, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def value(self, node: Node, key: Key) -> Any:
        line = node.start_mark.line + 1
        self.lines[key] = line
        # An alias shares its node: a few lines can stand for billions of values, or for itself.
        if len(self.lines) > MAX_VALUES:
            message = f"holds more than {MAX_VALUES} values, aliases written out"
            raise InputError([Problem(message, file=self.file, line=line)])
        if len(key) > MAX_DEPTH:
            message = f"is nested more than {MAX_DEPTH} deep"
            raise InputError([Problem(message, file=self.file, line=line)])
        if isinstance(node, ScalarNode):
            return self._scalar(node, key)
        if node.tag not in _COLLECTIONS:
            self._add(key, line, f"the tag {node.tag!r} means nothing here; leave it out")
        if isinstance(node, SequenceNode):
            return [self.value(item, (*key, i)) for i, item in enumerate(node.value)]
        return dict(self._pairs(node, key))

    def _pairs(self, node: Node, key: Key) -> Iterator[tuple[str, Any]]:
        seen: dict[str, int] = {}
        for name, item in node.value:
            line = name.start_mark.line + 1
            if not isinstance(name, ScalarNode) or name.tag not in _TEXT:
                shown = name.value if isinstance(name, ScalarNode) else _kind(name)
                self._add(key, line, f"a key should be text, not {shown}")
                continue
            if name.value in seen:
                message = f"this key was already given on line {seen[name.value]}"
                self._add((*key, name.value), line, message)
                continue
            seen[name.value] = line
            self.key_lines[*key, name.value] = line
            yield name.value, self.value(item, (*key, name.value))

    def _scalar(self, node: ScalarNode, key: Key) -> str | int | float | bool | None:
        text: str = node.value
        try:
            match str(node.tag).removeprefix(_TAG):
                case "null":
                    return None
                case "bool":
                    return text.lower() in {"true", "yes", "on"}  # the last two: %YAML 1.1
                case "int":
                    return _integer(text.replace("_", ""))
                case "float":
                    return _float(text.replace("_", "").lower())
        except ValueError:
            self._add(key, node.start_mark.line + 1, f"not a number: {text[:40]!r}")
            return text
        if node.tag not in _TEXT:
            message = f"the tag {node.tag!r} means nothing here; leave it out"
            self._add(key, node.start_mark.line + 1, message)
        return text

    def _add(self, key: Key, line: int, message: str) -> None:
        self.problems.append(Problem(message, key, self.file, line))


def _integer(text: str) -> int:
    """YAML 1.2: ``0o17`` and ``0x1f`` have a base, ``012`` is twelve."""
    prefixed = text.lstrip("+-")[:2].lower() in {"0o", "0x", "0b"}
    return int(text, 0 if prefixed else 10)


def _float(text: str) -> float:
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))
