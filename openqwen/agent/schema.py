"""JSON schemas of arguments: made from Python's type hints, and values checked against them.

    schema_of(list[int])                          # {"type": "array", "items": {"type": "integer"}}
    find_violation({"n": "x"}, schema)            # "n must be integer, got 'x'"

Of JSON Schema what function descriptions use: type, enum, const, properties, required, items,
additionalProperties, anyOf, oneOf and the bounds of numbers, texts and lists; no other is checked.
"""

import json
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal

_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def schema_of(hint: Any) -> dict[str, Any]:
    """Return the JSON schema of a type hint.

    `Annotated[T, "text"]` gives the description.

    Raises:
        TypeError: if the hint has no JSON form.
    """
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if hint in _NAMES:
        return {"type": _NAMES[hint]}
    if origin is typing.Annotated:
        texts = [extra for extra in args[1:] if isinstance(extra, str)]
        return schema_of(args[0]) | ({"description": texts[0]} if texts else {})
    if origin is Literal:
        kinds = {type(value) for value in args}
        named = {"type": _NAMES[kinds.pop()]} if len(kinds) == 1 else {}
        return named | {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        others = [arg for arg in args if arg is not type(None)]
        if len(others) == 1:  # None stands for what may be left out
            return schema_of(others[0])
        return {"anyOf": [schema_of(arg) for arg in others]}
    if hint is list or origin in (list, tuple, Sequence):
        return {"type": "array"} | ({"items": schema_of(args[0])} if args else {})
    if hint is dict or origin in (dict, Mapping):
        values = {"additionalProperties": schema_of(args[1])} if len(args) == 2 else {}
        return {"type": "object"} | values
    raise TypeError(f"{hint!r} has no JSON schema")


def find_violation(value: Any, schema: Mapping[str, Any], where: str = "") -> str | None:
    """Return the first way in which a value breaks a schema, as one line, or None.

    Args:
        value: of JSON types.
        schema: a JSON schema; BFCL's Python names (dict, float, any …) are understood too.
        where: path of the value, opens the line.
    """
    name = where or "the arguments"
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            found = [find_violation(value, each, where) for each in schema[key]]
            if None not in found:
                return f"{name} fits none of {len(found)} alternatives: {found[0]}"
    kinds = schema.get("type")
    if kinds is not None and not _has_type(value, kinds):
        shown = kinds if isinstance(kinds, str) else " or ".join(map(str, kinds))
        return f"{name} must be {shown}, got {_shown(value)}"
    if "enum" in schema and value not in schema["enum"]:
        choices = ", ".join(_shown(choice) for choice in schema["enum"][:12])
        return f"{name} must be one of {choices}, got {_shown(value)}"
    if "const" in schema and value != schema["const"]:
        return f"{name} must be {_shown(schema['const'])}, got {_shown(value)}"
    if isinstance(value, dict):
        return _in_object(value, schema, where)
    if isinstance(value, list):
        bad = _out_of_bounds(len(value), schema, "minItems", "maxItems")
        items = schema.get("items")
        if bad:
            return f"{name} must have {bad} items, got {len(value)}"
        for i, each in enumerate(value if isinstance(items, Mapping) else []):
            problem = find_violation(each, items, f"{where}[{i}]")  # type: ignore[arg-type]
            if problem:
                return problem
    if isinstance(value, str):
        bad = _out_of_bounds(len(value), schema, "minLength", "maxLength")
        return f"{name} must have {bad} characters, got {len(value)}" if bad else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        bad = _out_of_bounds(value, schema, "minimum", "maximum")
        return f"{name} must be {bad}, got {value}" if bad else None
    return None


def _in_object(value: dict[str, Any], schema: Mapping[str, Any], where: str) -> str | None:
    properties: Mapping[str, Any] = schema.get("properties") or {}
    prefix = f"{where}." if where else ""
    for key in schema.get("required") or ():
        if key not in value:
            return f"{prefix}{key} is missing"
    extra = schema.get("additionalProperties")
    for key, each in value.items():
        if key in properties:
            problem = find_violation(each, properties[key], f"{prefix}{key}")
        elif extra is False:
            known = ", ".join(properties) or "none"
            return f"{prefix}{key} is not a parameter; there are: {known}"
        elif isinstance(extra, Mapping):
            problem = find_violation(each, extra, f"{prefix}{key}")
        else:
            problem = None
        if problem:
            return problem
    return None


def _has_type(value: Any, kinds: Any) -> bool:
    if isinstance(kinds, list):
        return any(_has_type(value, kind) for kind in kinds)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_whole = is_number and (isinstance(value, int) or (math.isfinite(value) and value % 1 == 0))
    fits = {
        "string": isinstance(value, str),
        "integer": is_whole,
        "number": is_number,
        "boolean": isinstance(value, bool),
        "null": value is None,
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }
    python = {
        "dict": "object", "float": "number", "tuple": "array", "list": "array", "str": "string",
        "int": "integer", "bool": "boolean",
    }  # fmt: skip
    return fits.get(python.get(str(kinds), str(kinds)), True)


def _out_of_bounds(value: float, schema: Mapping[str, Any], least: str, most: str) -> str | None:
    if least in schema and value < schema[least]:
        return f"at least {schema[least]}"
    if most in schema and value > schema[most]:
        return f"at most {schema[most]}"
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:59] + "…"
