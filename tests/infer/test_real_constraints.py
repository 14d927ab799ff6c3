"""The real Qwen2.5-Coder-0.5B-Instruct held to schemas and tools, and its vectors."""

import json

import jsonschema
import pytest
import torch

from openqwen.infer.load import load

pytestmark = pytest.mark.real
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "languages": {"type": "array", "items": {"enum": ["zh", "en", "fr"]}, "maxItems": 3},
    },
    "required": ["name", "age", "languages"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "unit"],
            "additionalProperties": False,
        },
    },
}
ASKED = [{"role": "user", "content": "Alice is 31 and speaks English and French. Reply in JSON."}]


@pytest.fixture(scope="module")
def lm(coder05_path):
    return load(coder05_path, quantize="int4")


def test_a_schema_is_followed_and_filled_with_what_the_prompt_says(lm):
    request = lm.request(ASKED, constraint=lm.grammars.json_schema(PERSON), max_new_tokens=120)
    result = lm.engine().run([request])[0]
    found = json.loads(result.text)
    jsonschema.validate(found, PERSON)
    assert (found["name"], found["age"]) == ("Alice", 31)
    assert result.finish_reason == "stop"


def test_constrained_and_free_replies_in_one_batch_are_as_alone(lm):
    engine = lm.engine()

    def requests():
        return [
            lm.request(ASKED, max_new_tokens=40),
            lm.request(ASKED, constraint=lm.grammars.json_schema(PERSON), max_new_tokens=120),
            lm.request(ASKED, constraint=lm.grammars.json_object(), max_new_tokens=60),
        ]

    together = engine.run(requests())
    alone = [engine.run([request])[0] for request in requests()]
    assert [r.text for r in together] == [r.text for r in alone]


def test_a_tool_call_begins_and_ends_with_the_control_tokens(lm):
    asked = [{"role": "user", "content": "What is the weather in Paris, in °C?"}]
    constraint = lm.grammars.tool_calls([WEATHER], many=False)
    result = lm.engine().run([lm.request(asked, constraint=constraint, max_new_tokens=80)])[0]
    assert (result.ids[0], result.ids[-1]) == (151657, 151658)
    inner = result.text.removeprefix("<tool_call>\n").removesuffix("\n</tool_call>")
    call = json.loads(inner)
    assert call["name"] == "get_weather"
    assert call["arguments"]["city"] == "Paris"
    jsonschema.validate(call["arguments"], WEATHER["function"]["parameters"])


def test_rows_without_a_token_and_control_tokens_are_masked(lm):
    constraint = lm.grammars.json_object()
    for token in lm.encode('{"text": "'):
        constraint.accept(token)
    logits_V = torch.zeros(lm.config.vocab_size)
    constraint.mask(logits_V)
    assert torch.isinf(logits_V[lm.tokenizer.num_ranks :]).all()
    assert torch.isfinite(logits_V[lm.encode(" 你好")]).all()


def test_similar_sentences_are_nearer_than_unrelated_ones(lm):
    pairs = [
        ("The cat sleeps on the sofa.", "A kitten is napping on the couch."),
        ("The central bank raised interest rates.", "Borrowing became dearer after the rate hike."),
        ("def add(a, b): return a + b", "A Python function that returns the sum of two numbers"),
        ("今天下雨我带了伞", "外面在下雨所以我拿着雨伞"),
    ]
    left_ND, right_ND = (lm.embed([pair[side] for pair in pairs]) for side in (0, 1))
    similarity_NN = torch.nn.functional.cosine_similarity(left_ND[:, None], right_ND[None], dim=-1)
    assert similarity_NN.argmax(1).tolist() == [0, 1, 2, 3]
