"""What is wrong with the keys and types of a suite file, as sentences."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.errors import Key, Problem, allowed_and_nearest
from harness.suite.document import Document
from harness.suite.model import LIST, MODELS, SINGLE, Suite, Training


def structural_problems(document: Document) -> Iterator[Problem]:
    """Unknown and missing keys, wrong types, numbers out of range: all of them."""
    try:
        Suite.model_validate(document.content)
    except ValidationError as error:
        yield from problems_of(error, document, ())
    for key, training in written_trainings(document.content):
        for name, value in training.items():
            for place, item in _items((*key, name), value):
                try:
                    Training.model_validate({name: item})
                except ValidationError as error:
                    yield from problems_of(error, document, key, place)


def written_trainings(content: Mapping[str, Any]) -> Iterator[tuple[Key, dict[str, Any]]]:
    """Every ``training`` mapping of a suite file with its path: the suite's, the overrides'."""
    if isinstance(content.get("training"), dict):
        yield ("training",), content["training"]
    overrides = content.get("overrides")
    for i, override in enumerate(overrides if isinstance(overrides, list) else []):
        if isinstance(override, dict) and isinstance(override.get("training"), dict):
            yield ("overrides", i, "training"), override["training"]


def _items(key: Key, value: object) -> list[tuple[Key, object]]:
    """A value, or each item of the list that stands for several."""
    if isinstance(value, list):
        return [((*key, i), item) for i, item in enumerate(value)]
    return [(key, value)]


def problems_of(
    error: ValidationError, document: Document, prefix: Key, place: Key | None = None
) -> Iterator[Problem]:
    """Each error of a pydantic model as a problem.

    Args:
        error: What pydantic raised.
        document: The file that was validated.
        prefix: Where the validated part stands in it.
        place: Where the value stands, if it is an item of an expanding list.
    """
    for one in error.errors(include_url=False):
        key = (*prefix, *(part for part in one["loc"] if part not in {LIST, SINGLE}))
        if one["type"] == "extra_forbidden":
            yield document.problem(key, _unknown(key), of_key=True)
        elif one["type"] == "missing":
            yield document.problem(key[:-1], f"the key {key[-1]!r} is needed", of_key=True)
        else:
            yield document.problem(place or key, _wrong(dict(one)))


def _unknown(key: Key) -> str:
    model: type[BaseModel] = MODELS[tuple(part for part in key[:-1] if isinstance(part, str))]
    return f"unknown key; {allowed_and_nearest(str(key[-1]), model.model_fields)}"


def _wrong(error: dict[str, Any]) -> str:
    if error["type"] == "too_short":
        return "should not be empty: it leaves nothing to run"
    if error["type"] == "string_pattern_mismatch":
        return (
            "becomes a folder's name: up to 64 letters, digits, '-', '_' and '.', "
            f"a letter or digit first; got {shown(error['input'])}"
        )
    message = str(error["msg"]).removeprefix("Input ")
    return f"{message[0].lower()}{message[1:]}; got {shown(error['input'])}"


def shown(value: object) -> str:
    """A value as a person wrote it, cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
