import json
import sys
import threading

import jsonschema
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_exports import ROWS, byte_tokenizer, random_model

from openqwen.core.errors import UserError
from openqwen.infer.grammar import Grammars
from openqwen.infer.load import LanguageModel

CONTROLS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"]
CALL, END_CALL = 259, 260
POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 99}, "at": {"enum": ["é", 1]}},
    "required": ["x", "at"],
    "additionalProperties": False,
}


def function(name, parameters=None, **others):
    about = {"name": name, **others} | ({"parameters": parameters} if parameters else {})
    return {"type": "function", "function": about}


class Only:
    """Allows the ids of a list, one after the other."""

    error = None

    def __init__(self, *ids):
        self.ids, self.seen = list(ids), []

    @property
    def is_finished(self):
        return len(self.seen) == len(self.ids)

    def mask(self, logits_V):
        assert logits_V.dtype == torch.float32
        kept = float(logits_V[self.ids[len(self.seen)]])
        logits_V.fill_(-torch.inf)
        logits_V[self.ids[len(self.seen)]] = kept

    def accept(self, token):
        self.seen.append(token)


@pytest.fixture(scope="module")
def lm():
    """A random model with ChatML's control tokens and those of tool calls."""
    return LanguageModel(random_model(), byte_tokenizer(CONTROLS), context=4096)


def answer(lm, constraint, **sampling):
    sampling = {"max_new_tokens": 2000, "temperature": 1.0} | sampling
    return lm.engine().run([lm.request("x", constraint=constraint, **sampling)])[0]


def allowed(constraint, text=()):
    """The ids that may follow a text."""
    for token in text.encode() if isinstance(text, str) else text:
        constraint.accept(token)
    logits_V = torch.zeros(ROWS)
    constraint.mask(logits_V)
    assert set(logits_V.tolist()) <= {0.0, -torch.inf}
    return set((logits_V == 0).nonzero().flatten().tolist())


def test_a_reply_says_what_its_constraint_allows_and_ends_with_it(lm):
    constraint = Only(*b"hello")
    result = answer(lm, constraint, temperature=0.0)
    assert (result.text, result.finish_reason, result.stop) == ("hello", "stop", None)
    assert constraint.seen == list(b"hello")


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.0, "logprobs": True, "top_logprobs": 2},
        {"temperature": 1.3, "top_k": 3, "top_p": 0.5, "min_p": 0.9},
        {"temperature": 0.0, "repetition_penalty": 2.0, "frequency_penalty": 2.0},
        {"temperature": 0.7, "logit_bias": {65: 100.0, 66: 100.0}},
    ],
)
def test_no_setting_lifts_a_constraint(lm, sampling):
    assert answer(lm, Only(*b"hello hello"), **sampling).text == "hello hello"


def test_log_probabilities_are_the_models_and_grow_with_the_reply(lm):
    request = lm.request("x", constraint=Only(*b"ab"), logprobs=True, top_logprobs=3)
    engine = lm.engine()
    engine.add(request)
    engine.step()
    scores_V = lm.logits([lm.encode("x")])[0, -1].log_softmax(-1)
    assert request.logprobs == [pytest.approx(float(scores_V[97]), abs=1e-4)]
    best = [i for i, _ in request.top_logprobs[0]]
    assert best == scores_V.topk(3).indices.tolist()
    engine.step()
    assert len(request.logprobs) == 2
    assert request.result().logprobs == request.logprobs


def test_tokens_may_run_out_before_the_constraint_is_complete(lm):
    result = answer(lm, Only(*b"hello"), max_new_tokens=3)
    assert (result.text, result.finish_reason) == ("hel", "length")
    whole = answer(lm, Only(*b"hello"), max_new_tokens=5)
    assert (whole.text, whole.finish_reason) == ("hello", "stop")


def test_a_constraint_that_allows_nothing_ends_its_own_reply_alone(lm):
    class Nothing(Only):
        error = "nothing fits"

        def mask(self, logits_V):
            logits_V.fill_(-torch.inf)

    stuck = lm.request("x", constraint=Nothing(1))
    free = lm.request("x", max_new_tokens=8)
    engine = lm.engine()
    results = engine.run([stuck, free])
    assert (results[0].finish_reason, results[0].error) == ("error", "nothing fits")
    assert (results[1].finish_reason, results[1].num_new_tokens) == ("length", 8)
    assert engine.stats().blocks_used == 0


def test_rows_without_a_constraint_are_not_changed_by_one_that_has(lm):
    def requests():
        return [
            lm.request("one", max_new_tokens=20),
            lm.request("two", max_new_tokens=20, temperature=0.9, seed=4),
            lm.request("six", constraint=lm.grammars.json_schema(POINT), temperature=1.0, seed=5),
        ]

    together = lm.engine().run(requests())
    alone = [lm.engine().run([request])[0] for request in requests()]
    assert [r.ids for r in together] == [r.ids for r in alone]


def test_a_preempted_reply_keeps_its_place_in_the_grammar(lm):
    schema = {"type": "array", "items": POINT, "minItems": 3, "maxItems": 3}

    def requests():
        return [
            lm.request(
                "x" * 20, constraint=lm.grammars.json_schema(schema), temperature=1.0, seed=i
            )
            for i in range(4)
        ]

    roomy = lm.engine().run(requests())
    tight = lm.engine(kv_bytes=60_000, block_tokens=4, share_prefixes=False)
    assert [r.ids for r in tight.run(requests())] == [r.ids for r in roomy]
    assert tight.stats().num_preemptions > 0
    for result in roomy:
        jsonschema.validate(json.loads(result.text), schema)


def kinds():
    """Schemas whose texts are short."""
    leaves = st.one_of(
        st.just({"type": "boolean"}),
        st.just({"type": "null"}),
        st.integers(0, 6).map(lambda n: {"type": "string", "maxLength": n}),
        st.tuples(st.integers(-50, 50), st.integers(0, 99)).map(
            lambda two: {"type": "integer", "minimum": two[0], "maximum": two[0] + two[1]}
        ),
        st.lists(st.sampled_from(["a", "é\n", 3, None, True]), min_size=1, unique_by=repr).map(
            lambda values: {"enum": values}
        ),
        st.just({"type": "string", "pattern": "^[a-c]{1,4}$"}),
    )
    names = st.lists(st.sampled_from(["a", "b", 'quo"te', "字"]), max_size=3, unique=True)

    @st.composite
    def objects(draw, inner):
        properties = {name: draw(inner) for name in draw(names)}
        required = [name for name in properties if draw(st.booleans())]
        return {
            "type": "object", "properties": properties, "required": required,
            "additionalProperties": False,
        }  # fmt: skip

    def larger(inner):
        arrays = st.tuples(inner, st.integers(0, 2), st.integers(0, 1)).map(
            lambda three: {
                "type": "array", "items": three[0], "minItems": three[1],
                "maxItems": three[1] + three[2],
            }
        )  # fmt: skip
        either = st.lists(inner, min_size=1, max_size=2).map(lambda found: {"anyOf": found})
        return st.one_of(objects(inner), arrays, either)

    return st.recursive(leaves, larger, max_leaves=6)


@given(schema=kinds(), seed=st.integers(0, 1000), temperature=st.sampled_from([0.0, 0.7, 2.0]))
@settings(deadline=None, max_examples=60)
def test_any_reply_of_a_random_model_validates(lm, schema, seed, temperature):
    constraint = lm.grammars.json_schema(schema)
    result = answer(lm, constraint, seed=seed, temperature=temperature)
    assert result.finish_reason == "stop"
    jsonschema.validate(json.loads(result.text), schema)
    assert not [i for i in result.ids[:-1] if i >= 256]


def test_generate_holds_every_reply_to_a_schema(lm):
    for result in lm.generate(["a", "b"], json_schema=POINT, temperature=1.0):
        jsonschema.validate(json.loads(result.text), POINT)


def test_a_json_object_is_an_object(lm):
    for seed in range(3):
        assert isinstance(json.loads(answer(lm, lm.grammars.json_object(), seed=seed).text), dict)


def test_the_end_may_come_only_where_the_text_is_complete(lm):
    ends = set(lm.stop_ids)
    number = lm.grammars.json_schema({"type": "integer"})
    assert not allowed(number) & ends
    assert allowed(number, "12") >= ends
    point = lm.grammars.json_schema(POINT)
    assert not allowed(point, '{"x": 3, "at": 1') & ends
    assert not point.is_finished
    assert allowed(point, "}") == ends
    assert point.is_finished


def test_control_tokens_and_rows_without_a_token_are_never_part_of_a_string(lm):
    constraint = lm.grammars.json_schema({"type": "string"})
    inside = allowed(constraint, '"a')
    assert max(inside) < 256
    assert {*b"<|im_end|>"} <= inside  # their look-alikes are ordinary text


def test_spacing_is_bounded(lm):
    point = lm.grammars.json_schema(POINT)
    assert ord(" ") not in allowed(point, '{ "x": ')


def test_a_tool_call_is_one_of_the_tools_with_its_arguments(lm):
    tools = [function("where", POINT, strict=True), function('na"mé')]
    for seed in range(5):
        result = answer(lm, lm.grammars.tool_calls(tools, many=False), seed=seed)
        assert (result.ids[0], result.ids[-1]) == (CALL, END_CALL)
        call = json.loads(result.text.removeprefix(CONTROLS[3]).removesuffix(CONTROLS[4]))
        if call["name"] == "where":
            jsonschema.validate(call["arguments"], POINT)
        else:
            assert call == {"name": 'na"mé', "arguments": {}}


def test_one_call_or_many(lm):
    call = [CALL, *b'\n{"name": "f", "arguments": {}}\n', END_CALL]
    one = lm.grammars.tool_calls([function("f")], many=False)
    assert allowed(one, call) == set(lm.stop_ids)
    many = lm.grammars.tool_calls([function("f")], many=True)
    assert allowed(many, call) == {*lm.stop_ids, ord("\n")}
    assert allowed(many, "\n") == {CALL}


def test_text_may_come_before_calls(lm):
    constraint = lm.grammars.tool_calls([function("f", POINT)], many=True, after_text=True)
    assert allowed(constraint, "Let me see <tool_call> ") >= {*range(128), CALL, *lm.stop_ids}
    assert allowed(constraint, [CALL]) == {ord("\n")}


def test_calls_are_plain_text_where_the_vocabulary_has_no_token_for_them():
    tokenizer = byte_tokenizer()
    grammars = Grammars(tokenizer, ROWS, tokenizer.stop_ids)
    constraint = grammars.tool_calls([function("f")], many=False)
    text = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert allowed(constraint, text) == set(tokenizer.stop_ids)
    with pytest.raises(UserError, match="<tool_call> is no control token of this model"):
        grammars.tool_calls([function("f")], many=False, after_text=True)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ({"not": {"type": "null"}}, "not supported: not; leave them out"),
        ({"type": "array", "uniqueItems": True}, "not supported: uniqueItems"),
        ({"type": "dict"}, "invalid type: dict"),
        ({"type": "string", "format": "nonsense"}, "unknown format: nonsense"),
        ({"type": "string", "pattern": "(?=x)a"}, "look-around"),
        ({"$ref": "http://example.com/a"}, "does not fetch"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum .5. is greater than maximum"),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, "anyOf is"),
        ({"type": "null", "x-guidance": {"lenient": True}, "not": {}}, "not supported: not"),
    ],
)
def test_a_schema_that_cannot_be_followed_is_refused_in_one_line(lm, schema, message):
    with pytest.raises(
        UserError, match=f"^the JSON schema cannot be followed: .*{message}"
    ) as error:
        lm.grammars.json_schema(schema)
    assert "\n" not in str(error.value)


def test_a_strict_tool_must_be_followed_whole_and_another_as_far_as_it_goes(lm):
    loose = {"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}
    lm.grammars.tool_calls([function("f", loose)], many=False)
    with pytest.raises(UserError, match=r"^tool f cannot be followed: not supported: uniqueItems"):
        lm.grammars.tool_calls([function("f", loose, strict=True)], many=False)
    with pytest.raises(UserError, match="at least one tool"):
        lm.grammars.tool_calls([], many=False)


def test_a_grammar_that_proves_too_hard_ends_its_reply_with_the_reason(lm):
    any_ = {"$ref": "#/$defs/any"}
    either = [{"type": "object", "properties": {f"k{i}": any_}} for i in range(300)]
    arrays = {"type": "array", "items": any_}
    constraint = lm.grammars.json_schema({"$defs": {"any": {"anyOf": [arrays, *either]}}, **any_})
    result = answer(lm, constraint, logit_bias={ord("{"): 100.0})
    assert (result.finish_reason, result.text) == ("error", "{")
    assert result.error.startswith("too many ways to go on at one place")
    assert lm.engine().stats().blocks_used == 0


def test_a_constraint_made_in_one_thread_serves_in_another(lm):
    found = []
    constraint = lm.grammars.json_schema(POINT)
    thread = threading.Thread(target=lambda: found.append(answer(lm, constraint)))
    thread.start()
    thread.join()
    jsonschema.validate(json.loads(found[0].text), POINT)


def test_a_model_without_end_tokens_stops_where_the_text_is_complete():
    lm = LanguageModel(random_model(), byte_tokenizer(["<pad>"]), context=4096)
    assert lm.stop_ids == ()
    result = answer(lm, lm.grammars.json_schema(POINT))
    jsonschema.validate(json.loads(result.text), POINT)
    assert result.finish_reason == "stop"


def test_without_llguidance_one_line_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "llguidance", None)
    with pytest.raises(UserError, match=r"llguidance: pip install 'openqwen\[serve\]'"):
        Grammars(byte_tokenizer(), ROWS, [1])
