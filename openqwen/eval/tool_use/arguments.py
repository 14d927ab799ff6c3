"""Are a call's arguments among a query's possible answers? (ours; the function-calling benchmark).

    possible = {"base": [10], "unit": ["m", "metres", ""]}      # "" may be left out
    find_mistake({"base": 10}, possible, schema)                # None: right
    nearest_reference({"base": 11}, possible)                   # {"base": 10}

The rules are those of the benchmark's own checker for Python: required parameters there, none
that is unknown, types as declared (a whole number is also a float), values among the alternatives;
texts are compared without case and without spaces and ,./-_*^ in them.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

OMITTABLE = ""  # among a parameter's alternatives: it may be left out
_PASSED_OVER = re.compile(r"[ ,./\-_*^]")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "float": (float, int),
    "number": (float, int),
    "boolean": (bool,),
    "array": (list,),
    "tuple": (list,),
    "dict": (dict,),
    "object": (dict,),
    "any": (str,),
}

Alternatives = Mapping[str, Sequence[Any]]


def find_mistake(
    arguments: Mapping[str, Any], possible: Alternatives, parameters: Mapping[str, Any]
) -> str | None:
    """Return the first thing wrong with arguments, or None where they are right.

    Args:
        arguments: as the model gave them.
        possible: parameter -> alternatives.
        parameters: the function's schema, with the benchmark's or JSON Schema's names of types.
    """
    properties = parameters.get("properties") or {}
    for name in parameters.get("required") or ():
        if name not in arguments:
            return f"{name} is missing"
    for name, value in arguments.items():
        if name not in properties or name not in possible:
            return f"{name} is not expected"
        mistake = _wrong_value(value, possible[name], properties[name])
        if mistake:
            return f"{name} {mistake}"
    for name, alternatives in possible.items():
        if name not in arguments and OMITTABLE not in alternatives:
            return f"{name} is missing"
    return None


def nearest_reference(
    arguments: Any, possible: Alternatives, required: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the right arguments that differ least from those given.

    Of each parameter the alternative that the call has, else the first; what may be left out and
    is left out stays out, unless the schema requires it.
    """
    given = arguments if isinstance(arguments, Mapping) else {}
    reference = {}
    for name, alternatives in possible.items():
        if name in given or name in required or OMITTABLE not in alternatives:
            values = [each for each in alternatives if each != OMITTABLE] or [OMITTABLE]
            same = [each for each in values if name in given and _equal(given[name], each)]
            reference[name] = _plain(same[0] if same else values[0], given.get(name))
    return reference


def _plain(alternative: Any, given: Any) -> Any:
    """Return an alternative whose dicts hold values instead of lists of alternatives."""
    if isinstance(alternative, Mapping) and all(isinstance(v, list) for v in alternative.values()):
        return nearest_reference(given, alternative)
    if isinstance(alternative, list):
        pairs = given if isinstance(given, list) and len(given) == len(alternative) else alternative
        return [_plain(each, own) for each, own in zip(alternative, pairs, strict=True)]
    return alternative


def _wrong_value(value: Any, alternatives: Sequence[Any], schema: Mapping[str, Any]) -> str | None:
    declared = str(schema.get("type", "any"))
    fits = type(value) in _TYPES.get(declared, (str,))
    # some answers are names of variables where another type is declared
    if not fits and type(value) not in {type(each) for each in alternatives if each != OMITTABLE}:
        return f"must be {declared}, got {type(value).__name__}"
    if any(_equal(value, each) for each in alternatives):
        return None
    return f"is {value!r}, not one of {list(alternatives)!r}"


def _equal(value: Any, wanted: Any) -> bool:
    """Return whether a value is a possible one; in dicts each key has alternatives of its own."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) and isinstance(wanted, str):
        return _bare(value) == _bare(wanted)
    if isinstance(value, list) and isinstance(wanted, list):
        pairs = zip(value, wanted, strict=False)
        return len(value) == len(wanted) and all(_equal(*pair) for pair in pairs)
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return _equal_fields(value, wanted)
    return type(value) in (int, float) and type(wanted) in (int, float) and value == wanted


def _equal_fields(value: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    for key, own in value.items():
        if key not in wanted:
            return False
        alternatives = wanted[key] if isinstance(wanted[key], list) else [wanted[key]]
        if not any(_equal(own, each) for each in alternatives):
            return False
    return all(
        key in value or (isinstance(alternatives, list) and OMITTABLE in alternatives)
        for key, alternatives in wanted.items()
    )


def _bare(text: str) -> str:
    return _PASSED_OVER.sub("", text).lower().replace("'", '"')
