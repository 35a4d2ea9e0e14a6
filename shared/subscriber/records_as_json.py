"""Frozen dataclasses as JSON: objects, arrays, text and finite numbers only."""

import json
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

Record = TypeVar("Record")


def to_json(record: object) -> dict[str, Any]:
    """A record as JSON has it, in the order of the record's fields."""
    adapter = _adapter(cast("Any", type(record)))
    return cast("dict[str, Any]", adapter.dump_python(record, mode="json", fallback=dict, warnings=False))


def compact(value: object) -> str:
    """JSON without spaces, in UTF-8 rather than escapes. ValueError for a number that is not finite."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def from_json(kind: type[Record], data: str | bytes) -> Record:
    """The inverse of `to_json` and `compact`. What is absent is empty or 0, what is unknown is skipped.

    ValueError, with one sentence, on wrong types, numbers that are not finite, and text that is not Unicode.
    """
    try:
        return cast("Record", _adapter(cast("Any", kind)).validate_json(data))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
