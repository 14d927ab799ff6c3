"""Text to ids and back, on a small trained vocabulary."""

import time
import unicodedata

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.tokenizer import text as text_module
from openqwen.tokenizer.control import CONTROL_TOKENS, control_tokens, padded_rows
from openqwen.tokenizer.text import MAX_SPACE_RUN, cut_long_spaces, to_nfc, without_surrogates
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import QWEN_PATTERN

LOOKALIKES = [
    *CONTROL_TOKENS[:5],
    "<|im_start|>user\n",
    "<|",
    "|>",
    " ",
    "\n",
    "12",
    "é",
    "中",
    "\0",
]
any_text = st.lists(st.sampled_from(LOOKALIKES) | st.text(max_size=12), max_size=8).map("".join)


def test_control_tokens_follow_the_ranks_as_in_the_published_vocabulary():
    names = control_tokens(151_643)
    assert list(names)[:4] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|extra_0|>"]
    assert names["<|endoftext|>"] == 151_643
    assert names["<|extra_204|>"] == 151_850
    assert len(names) == 208


@pytest.mark.parametrize(("size", "rows"), [(151_851, 151_936), (128, 128), (129, 256), (1, 128)])
def test_embedding_rows_are_padded_to_a_multiple_of_128(size, rows):
    assert padded_rows(size) == rows


def test_the_facts_of_a_vocabulary(tokenizer):
    assert tokenizer.num_ranks == len(tokenizer.ranks) == 1_200
    assert tokenizer.vocab_size == 1_408
    assert tokenizer.eos_id == 1_200
    assert (tokenizer.im_start_id, tokenizer.im_end_id) == (1_201, 1_202)
    assert tokenizer.stop_ids == (1_202, 1_201, 1_200)
    assert tokenizer.nfc is False
    assert tokenizer.name_of(1_202) == "<|im_end|>"
    assert tokenizer.name_of(tokenizer.ranks[b"\xe4"]) == "\\xe4"


def test_text_is_plain_unless_control_tokens_are_allowed_by_name(tokenizer):
    text = "a<|im_end|>b<|endoftext|>"
    im_end, eos = tokenizer.im_end_id, tokenizer.eos_id
    assert max(tokenizer.encode(text)) < tokenizer.num_ranks
    allowed = tokenizer.encode(text, allowed_special={"<|im_end|>"})
    assert im_end in allowed
    assert eos not in allowed
    a, b = tokenizer.encode("a"), tokenizer.encode("b")
    assert tokenizer.encode(text, allowed_special="all") == [*a, im_end, *b, eos]
    for names in (["<|nope|>"], "<|im_end|>"):
        with pytest.raises(ValueError, match="allowed_special"):
            tokenizer.encode(text, allowed_special=names)


def test_digits_stand_alone(tokenizer):
    assert len(tokenizer.encode("2048")) == 4
    assert not [t for t in tokenizer.ranks if len(t) > 1 and any(48 <= byte < 58 for byte in t)]


def test_composing_is_off_unless_asked_for(tokenizer):
    decomposed = "e\u0301"
    assert tokenizer.decode(tokenizer.encode(decomposed)) == decomposed
    assert tokenizer.encode(decomposed, nfc=True) == tokenizer.encode("é")
    composing = Tokenizer(tokenizer.ranks, nfc=True)
    assert composing.encode(decomposed) == composing.encode("é")
    assert composing.encode_batch([decomposed]) == [composing.encode("é")]
    assert composing.decode(composing.encode(decomposed, nfc=False)) == decomposed


def test_control_tokens_can_be_left_out_of_decoded_text(tokenizer):
    ids = tokenizer.encode("a<|im_end|>b", allowed_special="all")
    assert tokenizer.decode(ids) == "a<|im_end|>b"
    assert tokenizer.decode(ids, skip_control=True) == "ab"


@pytest.mark.parametrize("bad", [1_408, -1, 2**40])
def test_an_id_without_a_token_is_named(tokenizer, bad):
    with pytest.raises(ValueError, match=rf"^id {bad} has no token"):
        tokenizer.decode([0, bad])


def test_a_vocabulary_without_chat_tokens_says_so(tokenizer):
    bare = Tokenizer(tokenizer.ranks, controls={"<|endoftext|>": 1_200})
    assert bare.stop_ids == (1_200,)
    with pytest.raises(UserError, match=r"no <\|im_end\|>"):
        _ = bare.im_end_id


@given(text=any_text)
@example(text="\ufeff\u200b\u2028\x85\x1c")
def test_any_text_comes_back_whole_and_without_control_tokens(tokenizer, text):
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode_bytes(ids) == text.encode()
    assert all(i < tokenizer.num_ranks for i in ids)
    assert tokenizer.encode_batch([text, "", text]) == [ids, [], ids]
    allowed = tokenizer.encode(text, allowed_special="all")
    assert tokenizer.decode_bytes(allowed) == text.encode()


@given(data=st.binary(max_size=40), text=any_text)
def test_streamed_text_is_the_whole_text_and_never_half_a_character(tokenizer, data, text):
    by_byte = [tokenizer.ranks[bytes([value])] for value in data]
    for ids in (
        by_byte,
        tokenizer.encode(text),
        [tokenizer.ranks[bytes([b])] for b in text.encode()],
    ):
        stream = tokenizer.stream_decoder()
        pieces = [stream.push(i) for i in ids]
        assert "".join(pieces) + stream.flush() == tokenizer.decode(ids)
        if ids is not by_byte and "\ufffd" not in text:
            assert "\ufffd" not in "".join(pieces)
        assert stream.flush() == ""


def test_a_character_over_three_tokens_comes_out_with_the_third(tokenizer):
    ids = [tokenizer.ranks[bytes([value])] for value in "中".encode()]
    stream = tokenizer.stream_decoder()
    assert [stream.push(i) for i in ids] == ["", "", "中"]
    assert stream.push(ids[0]) == ""
    assert stream.flush() == "\ufffd"
    assert stream.push(ids[0]) + stream.push(ids[1]) + stream.push(ids[2]) == "中"


@pytest.mark.parametrize(
    "text",
    ["a\ud800b", "\udc00", "\ud83d\ude00", "\ud800" * 1_000, "x\udfff<|im_end|>"],
    ids=["lone high", "lone low", "pair", "many", "before a control token"],
)
def test_lone_surrogates_become_replacement_characters(tokenizer, text):
    expected = without_surrogates(text)
    assert tokenizer.decode(tokenizer.encode(text)) == expected
    assert tokenizer.decode(tokenizer.encode(text, allowed_special="all", nfc=True)) == expected
    assert tokenizer.encode_batch([text]) == [tokenizer.encode(expected)]


def test_surrogate_pairs_join_and_lone_ones_are_replaced():
    assert without_surrogates("\ud83d\ude00") == "😀"
    assert without_surrogates("a\ud800b\ude00") == "a\ufffdb\ufffd"


@pytest.mark.parametrize(
    "text",
    ["a" * 1_000_000, " " * 1_100_000 + "x", "^" * 1_000_000, "\0" * 1_000_000, "\n " * 600_000],
    ids=["word", "spaces", "carets", "nulls", "lines of a space"],
)
def test_a_megabyte_of_one_sign_neither_crashes_nor_takes_minutes(tokenizer, text):
    started = time.monotonic()
    ids = tokenizer.encode(text)
    assert time.monotonic() - started < 30
    assert tokenizer.decode_bytes(ids) == text.encode()


def test_spaces_are_cut_only_where_the_engine_would_fail(tokenizer):
    engine = tiktoken.Encoding(
        "plain", pat_str=QWEN_PATTERN, mergeable_ranks=tokenizer.ranks, special_tokens={}
    )
    for text in (" " * MAX_SPACE_RUN + "x", "x " * 300_000 + " " * 90_000 + "\n\ty"):
        assert cut_long_spaces(text) == [text]
        assert tokenizer.encode(text) == engine.encode_ordinary(text)
    long = "x" + " " * (2 * MAX_SPACE_RUN + 5) + "y"
    assert [len(part) for part in cut_long_spaces(long)] == [MAX_SPACE_RUN + 1, MAX_SPACE_RUN, 6]


def test_composing_a_long_run_of_marks_is_fast_and_short_runs_are_exact():
    hostile = "e" + "\u0301\u0316" * 100_000
    started = time.monotonic()
    assert len(to_nfc(hostile)) == len(hostile) - 1
    assert time.monotonic() - started < 10
    assert text_module.MAX_MARK_RUN > 30


@given(text=st.text(alphabet="ae\u0301\u0316\u0323\u1100\u1161\u11a8 中", max_size=2_000))
def test_composing_equals_pythons_own_below_the_limit(text):
    assert to_nfc(text) == unicodedata.normalize("NFC", text)
