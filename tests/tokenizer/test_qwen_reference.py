"""The published Qwen vocabulary: recorded cases of encoding, decoding and ChatML."""

import pytest
from tokenizers import Tokenizer as PeerTokenizer

from openqwen.core.files import sha256_file
from openqwen.tokenizer.chatml import build_context, decode_reply
from openqwen.tokenizer.files import QWEN_RANKS_SHA256
from openqwen.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.real

CHAT_NAMES = ("<|im_start|>", "<|im_end|>")


def test_the_published_vocabulary_has_its_known_sizes(qwen):
    assert (qwen.num_ranks, qwen.vocab_size) == (151_643, 151_851)
    assert (qwen.eos_id, qwen.im_start_id, qwen.im_end_id) == (151_643, 151_644, 151_645)
    assert qwen.control_tokens["<|extra_204|>"] == 151_850
    assert qwen.nfc is True


def test_every_recorded_text_gives_the_recorded_ids(qwen, cases):
    rows = cases("encode")
    assert len(rows) == 1_090
    for row in rows:
        text, plain = row["text"], row.get("ids_none", row["ids"])
        assert qwen.encode(text, allowed_special="all") == row["ids"]
        assert qwen.encode(text) == plain
        assert qwen.encode(text, allowed_special=CHAT_NAMES) == row.get("ids_im", row["ids"])
        skipped = row.get("decoded_skip_special", qwen.decode(row["ids"]))
        assert qwen.decode(row["ids"], skip_control=True) == skipped
    plain = [row.get("ids_none", row["ids"]) for row in rows]
    assert qwen.encode_batch(row["text"] for row in rows) == plain


def test_without_composing_every_recorded_text_comes_back_whole(qwen, cases):
    texts = [row["text"] for row in cases("encode")]
    for text in texts:
        assert qwen.decode(qwen.encode(text, nfc=False)) == text
    assert sum(qwen.decode(qwen.encode(text)) != text for text in texts) == 19


def test_every_recorded_decoding_is_matched_also_when_streamed(qwen, cases):
    rows = cases("decode")
    assert len(rows) == 203
    for row in rows:
        assert qwen.decode(row["ids"]) == row["replace"]
        assert qwen.decode(row["ids"], errors="ignore") == row["ignore"]
        assert qwen.decode(row["ids"], skip_control=True) == row["skip_special"]
        stream = qwen.stream_decoder()
        assert "".join(map(stream.push, row["ids"])) + stream.flush() == row["replace"]


def test_every_recorded_context_is_matched(qwen, cases):
    rows = cases("context")
    assert len(rows) == 114
    for row in rows:
        context = build_context(
            qwen, row["query"], row["history"], row["system"], row["max_window_size"]
        )
        assert context.ids == row["context_tokens"]
        assert context.text == row["raw_text"]
        assert row["kept"] in (None, context.num_turns)


def test_every_recorded_reply_is_matched_but_for_the_lost_last_token(qwen, cases):
    rows = cases("reply")
    assert len(rows) == 6
    for row in rows:
        reply = decode_reply(qwen, row["tokens"], len(row["context"]))
        if row["body"] == "no end":  # the published code drops the last token here
            assert (reply.text, row["decoded"]) == ("no end", "no")
        else:
            assert reply.text == row["decoded"]
        ended = f"Gen {reply.stop!r}" if reply.stop else f"Gen length {len(row['tokens'])}"
        assert ended == row["end_reason"]


def test_saving_gives_back_the_published_bytes_and_a_file_peers_read_alike(qwen, cases, tmp_path):
    qwen.save(tmp_path)
    assert sha256_file(tmp_path / "qwen.tiktoken") == QWEN_RANKS_SHA256
    peer = PeerTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for row in cases("encode"):
        assert peer.encode(row["text"]).ids == row["ids"], row["text"]
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert again.ranks == qwen.ranks
    assert again.control_tokens == qwen.control_tokens
    assert again.nfc is True
