"""One description of a tool, read and written in all published forms; arguments as models write."""

import contextlib
import json
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.relaxed_json import MAX_DEPTH, canonical_json, parse_relaxed
from openqwen.agent.schema import find_violation, schema_of
from openqwen.agent.tools import (
    ArgumentError,
    Tool,
    ToolResult,
    check_tools,
    read_arguments,
    read_tool,
    tool,
)
from openqwen.core.errors import UserError


def book_room(
    city: str,
    nights: int,
    smoking: bool = False,
    kind: Literal["single", "double"] = "single",
    wishes: Annotated[list[str] | None, "what else matters"] = None,
) -> dict[str, Any]:
    """Book a hotel room.

    Costs nothing until the stay.

    Args:
        city: where, as it is
            spelled there
        nights (int): how many
    """
    return {"city": city, "nights": nights, "kind": kind, "wishes": wishes or []}


ROOM = tool(book_room)
SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"description": "where, as it is spelled there", "type": "string"},
        "nights": {"description": "how many", "type": "integer"},
        "smoking": {"type": "boolean"},
        "kind": {"type": "string", "enum": ["single", "double"]},
        "wishes": {
            "type": "array", "items": {"type": "string"}, "description": "what else matters",
        },
    },
    "required": ["city", "nights"],
    "additionalProperties": False,
}  # fmt: skip


def test_a_typed_function_with_a_docstring_is_a_tool():
    assert ROOM.name == "book_room"
    assert ROOM.name_for_human == "book room"
    assert ROOM.description == "Book a hotel room. Costs nothing until the stay."
    assert ROOM.parameters == SCHEMA


def test_a_tool_is_written_in_openais_form_and_as_qwens_list():
    assert ROOM.definition() == {
        "type": "function",
        "function": {
            "name": "book_room", "description": ROOM.description, "parameters": SCHEMA,
        },
    }  # fmt: skip
    assert ROOM.plugin_parameters()[0] == {
        "name": "city",
        "description": "where, as it is spelled there",
        "required": True,
        "schema": {"type": "string"},
    }
    assert [each["required"] for each in ROOM.plugin_parameters()] == [True, True] + [False] * 3


@pytest.mark.parametrize("form", ["openai", "function", "plugin"])
def test_all_published_forms_are_read_as_the_same_tool(form):
    written = {
        "openai": ROOM.definition(),
        "function": ROOM.definition()["function"],
        "plugin": {
            "name_for_model": "book_room",
            "name_for_human": "book room",
            "description_for_model": ROOM.description,
            "parameters": ROOM.plugin_parameters(),
        },
    }[form]
    read = read_tool(json.loads(json.dumps(written)))
    assert (read.name, read.description) == ("book_room", ROOM.description)
    assert read.plugin_parameters() == ROOM.plugin_parameters()


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({}, "name must be"),
        ({"name": "two words"}, "name must be"),
        ({"name": "x" * 65}, "name must be"),
        ({"function": "search"}, "must be an object"),
        ({"name": "a", "parameters": "none"}, "must be a JSON schema"),
        ({"name": "a", "parameters": {"properties": []}}, "must be a JSON schema"),
        ({"name": "a", "parameters": [{"type": "string"}]}, "every parameter needs a name"),
    ],
)
def test_a_broken_description_is_told_in_one_line(written, message):
    with pytest.raises(UserError, match=message) as caught:
        read_tool(written)
    assert "\n" not in str(caught.value)


def test_functions_that_no_model_could_call_are_refused():
    def untyped(x):
        return x

    def many(*xs: int):
        return xs

    def odd(x: complex):
        return x

    for function in (untyped, many, odd):
        with pytest.raises(TypeError):
            tool(function)


def test_results_become_text():
    assert json.loads(ROOM.call({"city": "Köln", "nights": 2}).text)["city"] == "Köln"
    assert "Köln" in ROOM.call({"city": "Köln", "nights": 2}).text
    picture = Tool("p", "p", "", {}, lambda: ToolResult("drawn", {"a.png": b"x"}))
    assert picture.call({}).files == {"a.png": b"x"}
    with pytest.raises(UserError, match="only described"):
        Tool("p", "p", "", {}).call({})


def test_two_tools_of_one_name_are_refused():
    with pytest.raises(UserError, match="two tools are called book_room"):
        check_tools([ROOM, ROOM])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"city": "Köln"}', "nights is missing"),
        ('{"city": "Köln", "nights": "two"}', 'nights must be integer, got "two"'),
        ('{"city": "Köln", "nights": 1.5}', "nights must be integer, got 1.5"),
        ('{"city": "Köln", "nights": true}', "nights must be integer, got true"),
        ('{"city": "Köln", "nights": 1, "kind": "triple"}', 'one of "single", "double"'),
        ('{"city": "Köln", "nights": 1, "wishes": ["a", 2]}', r"wishes\[1\] must be string"),
        ('{"city": "Köln", "nights": 1, "pets": 1}', "pets is not a parameter; there are: city"),
        ('["Köln", 2]', "must be a JSON object, got list"),
        ("Köln, 2 nights", "not valid JSON: expected a value at character 0"),
        ('{"city": "Köln', "not valid JSON: the text that begins at character 9 does not end"),
        ("", "not valid JSON"),
    ],
)
def test_each_kind_of_wrong_arguments_is_told_in_one_line(text, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        read_arguments(ROOM, text)
    assert "\n" not in str(caught.value)


def test_right_arguments_are_read_however_they_are_written():
    for text in (
        '{"city": "Köln", "nights": 2}',
        "{'city': 'Köln', nights: 2,}",
        '```json\n{"city": "Köln", "nights": 2}\n```',
        '{"city": "K\\u00f6ln", /* two */ "nights": +2} // now',
    ):
        assert read_arguments(ROOM, text) == {"city": "Köln", "nights": 2}, text
    assert read_arguments(Tool("now", "now", "", {"type": "object"}), " ") == {}


def test_a_program_is_an_argument_fenced_bare_or_in_json():
    runner = Tool(
        "run", "run", "", {"properties": {"code": {"type": "string"}}, "required": ["code"]},
        args_format="code",
    )  # fmt: skip
    program = 'x = {"a": 1}\nprint(x)'
    for text in (
        program,
        f"```python\n{program}\n```",
        f"```py\n{program}",
        f"Here it is:\n```\n{program}\n```\nDone.",
        json.dumps({"code": program}),
    ):
        assert read_arguments(runner, text) == {"code": program}, text
    assert read_arguments(runner, "{1: 2}[1]") == {"code": "{1: 2}[1]"}
    with pytest.raises(ArgumentError, match="empty"):
        read_arguments(runner, " \n")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{'a': 'it\\'s', \"b\": [1, .5, 0x1F, -Infinity]}",
         {"a": "it's", "b": [1, 0.5, 31, float("-inf")]}),
        ("{a: True, b: None, c: false}", {"a": True, "b": None, "c": False}),
        ('{"a": "two\nlines"}', {"a": "two\nlines"}),
        ("'\\ud83d\\ude00'", "😀"),
        ("[]", []),
        ("# note\n1", 1),
    ],
)  # fmt: skip
def test_relaxed_json_reads_what_models_write(text, value):
    assert parse_relaxed(text) == value


@pytest.mark.parametrize(
    "text", ["", "{", "{a 1}", "{,}", "[1 2]", "'open", "{} {}", "nope", "{a: \\u12}", "'\\uZZZZ'"]
)
def test_what_is_no_json_is_a_value_error(text):
    with pytest.raises(ValueError, match=r"character|escape"):
        parse_relaxed(text)


def test_depth_is_bounded():
    with pytest.raises(ValueError, match=f"deeper than {MAX_DEPTH}"):
        parse_relaxed("[" * 100_000)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(VALUES)
def test_relaxed_json_reads_json_and_pythons_own_notation_alike(value):
    assert parse_relaxed(canonical_json(value)) == value
    if "\\" not in repr(value) and "`" not in repr(value):  # Python's other escapes are not JSON5's
        assert parse_relaxed(repr(value)) == value


@given(st.text(max_size=60))
def test_no_text_makes_relaxed_json_fail_otherwise(text):
    with contextlib.suppress(ValueError):  # RecursionError, IndexError … would come through
        parse_relaxed(text)


@given(VALUES)
def test_a_value_fits_the_schema_of_its_own_type(value):
    kinds = {type(None): "null", bool: "boolean", int: "integer", float: "number", str: "string"}
    kind = kinds.get(type(value), "array" if isinstance(value, list) else "object")
    assert find_violation(value, {"type": kind}) is None
    assert find_violation(value, {"anyOf": [{"type": "integer"}, {"type": kind}]}) is None
    others = [each for each in ("null", "boolean", "string", "array", "object") if each != kind]
    assert all(find_violation(value, {"type": other}) for other in others)


def test_bounds_and_nested_schemas_are_checked():
    schema = {
        "type": "object",
        "properties": {
            "n": {"type": "number", "minimum": 0, "maximum": 9},
            "s": {"type": "string", "minLength": 2},
            "l": {"type": "array", "maxItems": 1},
            "o": {"type": "object", "properties": {"x": {"const": 1}}, "required": ["x"]},
        },
    }
    assert find_violation({"n": 9, "s": "ab", "l": [1], "o": {"x": 1}}, schema) is None
    for value, message in [
        ({"n": 10}, "n must be at most 9, got 10"),
        ({"n": -1}, "n must be at least 0, got -1"),
        ({"s": "a"}, "s must have at least 2 characters, got 1"),
        ({"l": [1, 2]}, "l must have at most 1 items, got 2"),
        ({"o": {}}, "o.x is missing"),
        ({"o": {"x": 2}}, "o.x must be 1, got 2"),
    ]:
        assert find_violation(value, schema) == message


def test_hints_become_schemas():
    assert schema_of(dict[str, float]) == {
        "type": "object", "additionalProperties": {"type": "number"},
    }  # fmt: skip
    assert schema_of(int | None) == {"type": "integer"}
    assert schema_of(int | str) == {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    assert schema_of(Literal["a", 1]) == {"enum": ["a", 1]}
    assert schema_of(Any) == {}
