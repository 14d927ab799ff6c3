import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.documents import Document, write_documents
from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.training.conversation_rows import BadRowError, messages_of
from openqwen.data.training.conversations import conversations_of, marked, read_conversations
from openqwen.data.training.packing import (
    IGNORED,
    PADDING,
    Encoded,
    PackedBatches,
    best_fit,
    encode_conversations,
)

USER, ANSWER = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}
TOOL = {"name": "add", "parameters": {"type": "object"}}


def talk(*messages):
    return [dict(zip(("role", "content"), m, strict=True)) for m in messages]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER, ANSWER]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello!"}]},
        {"instruction": "Hi", "input": "", "output": "Hello!"},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}, ANSWER]},
    ],
)
def test_the_forms_people_have_are_one_conversation(row):
    assert messages_of(row) == [USER, ANSWER]


def test_sharegpt_tools_become_text_that_the_assistant_learns_to_write():
    call = json.dumps({"name": "add", "arguments": {"a": 1, "b": 2}})
    turns = [("human", "1+2?"), ("function_call", call), ("observation", "3"), ("gpt", "3.")]
    row = {
        "conversations": [{"from": who, "value": said} for who, said in turns],
        "tools": json.dumps([TOOL]),
    }
    messages = messages_of(row)
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert json.dumps(TOOL) in messages[0]["content"]
    spoken = messages[2]["content"]
    assert spoken == f"<tool_call>\n{call}\n</tool_call>"


def test_openai_tool_calls_say_the_same_as_sharegpt_ones():
    function = {"name": "add", "arguments": '{"a": 1, "b": 2}'}
    asked = {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}
    messages = messages_of({"messages": [USER, asked, {"role": "tool", "content": "3"}, ANSWER]})
    call = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
    assert messages[1]["content"] == f"<tool_call>\n{call}\n</tool_call>"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": [{"role": "narrator", "content": "x"}]}, "message without a known role"),
        ({"messages": [{"role": "user", "content": None}]}, "message is no text"),
        ({"messages": []}, "messages is no list with content"),
        ({"instruction": "Hi", "output": " "}, "empty instruction or output"),
        ({"messages": [USER, ANSWER], "tools": "{"}, "tools is no JSON list"),
        ({"conversations": [{"from": "function_call", "value": "add"}]}, "tool call that is no"),
    ],
)
def test_a_bad_row_says_why(row, reason):
    with pytest.raises(BadRowError, match=reason):
        messages_of(row)


def test_files_of_three_kinds_are_read_and_bad_rows_set_aside(tmp_path):
    rows = [{"messages": [USER, ANSWER]}, {"messages": [ANSWER]}, {"messages": [USER]}, {"x": 1}]
    rows.append({"messages": [USER, {"role": "assistant", "content": ""}]})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "a.jsonl").write_text(lines + "not json\n")
    (tmp_path / "b.json").write_text(json.dumps([{"instruction": "Hi", "output": "Hello!"}]))
    pq.write_table(pa.Table.from_pylist([{"messages": [USER, ANSWER]}]), tmp_path / "c.parquet")
    set_aside = SetAside()
    found = list(read_conversations([tmp_path], set_aside=set_aside))
    assert [c.messages for c in found] == [[USER, ANSWER]] * 3
    assert set_aside.counts == {
        "the first turn is not the user's": 1,
        "no assistant turn": 1,
        "no text, html, content, messages or instruction": 1,
        "empty assistant turn": 1,
        "not JSON": 1,
    }
    with pytest.raises(UserError, match="does not exist"):
        list(read_conversations([tmp_path / "none.jsonl"], set_aside=set_aside))


def test_equal_conversations_fall_on_one_side_of_the_split(tmp_path):
    rows = [{"messages": [{"role": "user", "content": f"Q{i % 50}"}, ANSWER]} for i in range(100)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(read_conversations([tmp_path], set_aside=SetAside(), validation_share=0.4))
    sides = {}
    for conversation in found:
        sides.setdefault(conversation.messages[0]["content"], set()).add(conversation.split)
    assert all(len(side) == 1 for side in sides.values())
    assert 8 < sum(side == {"validation"} for side in sides.values()) < 32


def test_the_documents_conversations_keep_their_split(tmp_path):
    plain = Document("a", "s", "", "MIT", "text/plain", "text")
    spoken = Document("b", "s", "", "MIT", "x", "t", messages=[USER, ANSWER], split="validation")
    write_documents(tmp_path / "documents" / "00000.parquet", [plain, spoken])
    (found,) = conversations_of(tmp_path)
    assert (found.id, found.split, found.messages) == ("b", "validation", [USER, ANSWER])


def test_marked_pieces_join_to_the_text_and_mark_the_assistants_words(byte_tokenizer):
    messages = talk(
        ("user", "猫?"), ("assistant", "喵<|im_end|>"), ("tool", "x"), ("assistant", "是")
    )
    pieces = marked(messages, byte_tokenizer, default_system=None)
    assert [text for text, learnt in pieces if learnt] == ["喵<|im_end|><|im_end|>", "是<|im_end|>"]
    assert "".join(text for text, _ in pieces) == (
        "<|im_start|>user\n猫?<|im_end|>\n<|im_start|>assistant\n喵<|im_end|><|im_end|>\n"
        "<|im_start|>tool\nx<|im_end|>\n<|im_start|>assistant\n是<|im_end|>\n"
    )


class Talk:
    """A conversation for the encoder, which asks for its name and messages only."""

    id = "made"

    def __init__(self, *messages):
        self.messages = talk(*messages)


def test_a_long_conversation_loses_whole_turns_and_a_hopeless_one_is_dropped(byte_tokenizer):
    short = Talk(("user", "a"), ("assistant", "b"))
    long = Talk(("user", "a"), ("assistant", "b"), ("user", "c" * 50), ("assistant", "d"))
    hopeless = Talk(("user", "a" * 99), ("assistant", "b"))
    encoded = encode_conversations(
        [short, long, hopeless], byte_tokenizer, max_tokens=60, default_system=None
    )
    assert (len(encoded), encoded.num_cut, encoded.num_dropped) == (2, 1, 1)
    first, second = (encoded.ids_N[slice(*encoded.offsets[i : i + 2])] for i in (0, 1))
    assert np.array_equal(first, second)
    assert encoded.learnt_tokens == 2 * len("b<")  # the letter and the end token, twice


def some_encoded(lengths):
    ids = np.arange(sum(lengths), dtype=np.int32)
    learnt = ids % 3 == 1
    return Encoded(ids, learnt, np.cumsum([0, *lengths], dtype=np.int64), 0, 0)


@given(
    st.lists(st.integers(2, 32), min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(1, 5),
    st.booleans(),
)
def test_an_epoch_holds_every_token_once_and_every_target_stays_at_home(lengths, seed, size, pack):
    encoded = some_encoded(lengths)
    batches = PackedBatches(
        encoded, context_length=32, sequences_per_step=size, seed=seed, pack=pack
    )
    seen = []
    for batch in batches.epoch_batches():
        real = batch.segments_BT != PADDING
        seen += batch.inputs_BT[real].tolist()
        learnt = batch.targets_BT != IGNORED
        # ids are numbered through, so the next token of the same conversation is the next number
        assert bool((batch.targets_BT[learnt] == batch.inputs_BT[learnt] + 1).all())
        assert bool(real[learnt].all())
    assert sorted(seen) == encoded.ids_N.tolist()
    firsts = {int(encoded.offsets[i]) for i in range(len(encoded))}
    learnt_total = sum(int((b.targets_BT != IGNORED).sum()) for b in batches.epoch_batches())
    assert learnt_total == encoded.learnt_tokens - sum(bool(encoded.learnt_N[i]) for i in firsts)


def test_batches_are_a_function_of_seed_and_step_and_go_on_after_an_epoch():
    encoded = some_encoded([5, 9, 13, 30, 2, 2, 17])

    def batches(seed):
        return PackedBatches(encoded, context_length=32, sequences_per_step=2, seed=seed)

    late = batches(1).batch(7)
    in_order = batches(1)
    for step in range(8):
        again = in_order.batch(step)
    assert bool((late.inputs_BT == again.inputs_BT).all())
    other = batches(2)
    assert any((batches(1).batch(s).inputs_BT != other.batch(s).inputs_BT).any() for s in range(4))


def test_packing_wastes_little_on_lengths_like_real_ones():
    lengths = np.random.default_rng(0).lognormal(4.6, 0.6, 3000).clip(20, 256).astype(int).tolist()
    batches = PackedBatches(some_encoded(lengths), context_length=256, sequences_per_step=8, seed=0)
    assert 0 <= batches.padding_share < 0.02


@given(st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_no_sequence_is_overfull(lengths):
    rows = best_fit(np.array(lengths), np.arange(len(lengths)), 50)
    assert sorted(i for row in rows for i in row) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in row) <= 50 for row in rows)
