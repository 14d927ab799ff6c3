"""The recipes' evaluation: items drawn by the seed, likelihoods and replies judged by rule."""

import math

import numpy as np
import pytest
import torch

from openqwen.data.training.shards import Span, TokenShard
from openqwen.eval.config import EvaluationConfig
from openqwen.eval.small_suite import (
    Passage,
    bits_a_byte,
    make_passages,
    pick_texts,
    right_continuations,
)
from openqwen.eval.small_tools import Call, judge_call, tool_questions
from openqwen.infer.load import LanguageModel
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder

SMALL = EvaluationConfig(
    documents_a_group=2,
    document_tokens=12,
    num_continuations=20,
    passage_tokens=6,
    continuation_tokens=3,
)


@pytest.fixture(scope="module")
def lm():
    shape = ModelConfig(
        vocab_size=64,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=48,
        train_length=64,
    )
    return LanguageModel(new_decoder(shape, seed=1).eval(), None)


@pytest.fixture
def shard():
    rng = np.random.default_rng(0)
    lengths = [30, 8, 40, 25, 30, 33]
    tokens = rng.integers(1, 64, sum(lengths)).astype(np.uint16)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]]).tolist()
    groups = ["en", "en", "en", "en", "en", "zh"]
    spans = [
        Span(f"d{i}", group, start, length, 2 * length)
        for i, (group, start, length) in enumerate(zip(groups, starts, lengths, strict=True))
    ]
    return TokenShard(tokens, spans)


def loss_by_hand(lm, ids, place):
    logits_V = lm.logits(torch.tensor([ids[:place]]))[0, -1].double()
    return float(torch.logsumexp(logits_V, 0) - logits_V[ids[place]])


def test_bits_a_byte_are_what_a_plain_forward_gives_whatever_shares_the_batch(lm):
    texts = [torch.tensor([5, 9, 11, 3, 60]), torch.tensor([7, 8, 9]), torch.arange(1, 20)]
    bytes_V = torch.arange(64) % 5 + 1
    found = bits_a_byte(lm, texts, bytes_V)
    for text_T, bits in zip(texts, found, strict=True):
        ids = text_T.tolist()
        losses = sum(loss_by_hand(lm, ids, i) for i in range(1, len(ids)))
        expected = losses / math.log(2) / int(bytes_V[text_T[1:]].sum())
        assert bits == pytest.approx(expected, rel=1e-5)


def test_the_likeliest_continuation_wins_and_only_if_it_is_the_true_one(lm):
    passage = torch.tensor([3, 1, 4, 1, 5])
    choices = [torch.tensor(ids) for ids in ([9, 2], [6, 5], [3, 5], [8, 9])]

    def loss(choice_T):
        ids = torch.cat([passage, choice_T]).tolist()
        return sum(loss_by_hand(lm, ids, i) for i in range(5, 7))

    best = min(range(4), key=lambda i: loss(choices[i]))
    for true in range(4):
        order = [choices[true], *(c for i, c in enumerate(choices) if i != true)]
        assert right_continuations(lm, [Passage("en", passage, order)]) == [true == best]


def test_passages_come_from_documents_long_enough_of_groups_with_four(shard):
    found = make_passages(shard, SMALL, seed=3)
    assert len(found) == 20
    assert {p.group for p in found} == {"en"}  # zh has one document, d1 is too short
    for passage in found:
        assert len(passage.passage_T) == 6
        assert [len(c) for c in passage.choices_T] == [3] * 4
    again, other = make_passages(shard, SMALL, seed=3), make_passages(shard, SMALL, seed=4)
    assert all(torch.equal(a.passage_T, b.passage_T) for a, b in zip(found, again, strict=True))
    assert any(not torch.equal(a.passage_T, b.passage_T) for a, b in zip(found, other, strict=True))


def test_a_group_gives_its_first_documents_cut(shard):
    texts = pick_texts(shard, SMALL)
    assert list(texts) == ["en"]  # one document has no interval
    assert [len(t) for t in texts["en"]] == [12, 8]


def test_questions_need_each_tool_in_both_languages_and_the_seed_decides():
    questions = tool_questions(12, seed=0)
    assert {q.needed for q in questions} == {"calculator", "weather", "search"}
    assert any("天气" in q.query for q in questions)
    assert all(len(q.tools) == 3 and q.query in q.prompt for q in questions)
    assert tool_questions(12, seed=0) == questions
    assert tool_questions(12, seed=1) != questions


@pytest.mark.parametrize(
    ("reply", "judged"),
    [
        ('Thought: x\nAction: calculator\nAction Input: {"expression": "3*4"}', Call.RIGHT),
        ('Action: Calculator \nAction Input: {"expression": "3*4"}', Call.RIGHT),
        ('Action: weather\nAction Input: {"city": "Oslo"}', Call.VALID),
        ('Action: calculator\nAction Input: {"city": "Oslo"}', Call.INVALID),
        ("Action: calculator\nAction Input: 3*4", Call.INVALID),
        ('Action: oracle\nAction Input: {"expression": "3*4"}', Call.INVALID),
        ("The answer is 12.", Call.INVALID),
        ("", Call.INVALID),
    ],
)
def test_a_call_is_valid_with_a_known_tool_and_its_arguments_right_with_the_needed_one(
    reply, judged
):
    question = next(q for q in tool_questions(6, seed=0) if q.needed == "calculator")
    assert judge_call(question, reply) is judged
