"""Figure 3's measure on vocabularies small enough to count by hand, and on files of every kind."""

import json
import re
import tokenize
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer as LibraryTokenizer
from tokenizers import models, pre_tokenizers

from openqwen.core.errors import UserError
from openqwen.core.gguf import TokenType, open_gguf
from openqwen.core.gguf_writer import write_gguf
from openqwen.tokenizer.compare import compare_tokenizers, ratio_interval
from openqwen.tokenizer.figure import markdown, single_digit_costs, write_comparison
from openqwen.tokenizer.files import write_ranks
from openqwen.tokenizer.peers import TokenCounter, open_counter
from openqwen.tokenizer.peers_catalogue import PEERS, fetch_peer, vocabulary_folder
from openqwen.tokenizer.peers_gguf import encoder_from_gguf

BYTES = {bytes([value]): value for value in range(256)}


def by_characters(name: str, size: int) -> TokenCounter:
    """Return a tokenizer that cuts every `size` characters; a piece's number is its text's hash."""

    def encode(texts):
        return [
            [int(any(c.isdigit() for c in t[i : i + size])) for i in range(0, len(t), size)]
            for t in texts
        ]

    return TokenCounter(name, "by hand", 2, encode, frozenset({1}))


def test_ratios_bytes_and_digits_are_those_counted_by_hand():
    texts = {"zh": ["天地玄黄12", "宇宙"], "en": ["abcdefgh"]}
    counters = [by_characters("single", 1), by_characters("double", 2), by_characters("four", 4)]
    table = compare_tokenizers(counters, texts)
    assert table["baseline"] == "single"
    zh = table["languages"]["zh"]
    assert (zh["documents"], zh["characters"], zh["bytes"]) == (2, 8, 20)
    double = zh["tokenizers"]["double"]
    assert (double["tokens"], double["digit_tokens"]) == (4, 1)
    assert double["ratio"] == 0.5
    assert double["ratio_without_digits"] == 0.5  # 3 of 6
    assert (double["bytes_per_token"], double["characters_per_token"]) == (5.0, 2.0)
    four = zh["tokenizers"]["four"]
    assert (four["tokens"], four["digit_tokens"], four["ratio_without_digits"]) == (3, 1, 0.3333)
    assert table["languages"]["en"]["tokenizers"]["four"] == {
        "tokens": 2,
        "ratio": 0.25,
        "interval": None,
        "digit_tokens": 0,
        "ratio_without_digits": 0.25,
        "bytes_per_token": 4.0,
        "characters_per_token": 4.0,
    }


def test_the_interval_covers_the_ratio_and_narrows_with_more_documents():
    draw = np.random.default_rng(0)
    base = draw.integers(50, 150, 400)
    tokens = (base * draw.uniform(0.5, 1.0, 400)).astype(np.int64)
    few, many = (ratio_interval(tokens[:n], base[:n], seed=1) for n in (10, 400))
    assert many[0] < tokens.sum() / base.sum() < many[1]
    assert many[1] - many[0] < few[1] - few[0]
    assert ratio_interval(base, base, seed=1) == [1.0, 1.0]
    assert ratio_interval(base[:1], base[:1], seed=1) is None


def test_the_files_say_what_the_table_says(tmp_path):
    counters = [by_characters("cl100k", 2), by_characters("cl100k-single-digits", 1)]
    table = compare_tokenizers(counters, {"en": ["abcd", "efgh"], "zh": ["天地"]})
    write_comparison(tmp_path, table)
    assert json.loads((tmp_path / "comparison.json").read_text()) == table
    text = (tmp_path / "comparison.md").read_text()
    assert "| en | 2 | 8 | 2.000 (2.00–2.00) |" in text
    assert "| zh | 1 | 2 | 2.000 |" in text
    assert single_digit_costs(table) == {"en": 1.0, "zh": 1.0}
    assert "en +100.0%, zh +100.0%" in text
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


def test_without_both_kinds_of_cl100k_no_cost_of_digits_is_told():
    table = compare_tokenizers([by_characters("a", 1), by_characters("b", 2)], {"en": ["ab"]})
    assert "digits cost" not in markdown(table)


def test_tokenizers_of_one_name_and_no_text_are_refused():
    with pytest.raises(UserError, match="two tokenizers are called 'a'"):
        compare_tokenizers([by_characters("a", 1), by_characters("a", 2)], {"en": ["ab"]})
    with pytest.raises(UserError, match="no text to compare"):
        compare_tokenizers([by_characters("a", 1)], {"en": [""]})


def test_rank_files_and_our_directories_count_as_they_encode(tokenizer, saved, tmp_path):
    text = "Hello 12 tokens 世界\ud800"
    write_ranks(tmp_path / "mine.tiktoken", tokenizer.ranks)
    for path in (tmp_path / "mine.tiktoken", saved, saved / "tokenizer.json"):
        counter = open_counter(str(path))
        assert counter.name == path.name
        [tokens] = counter.count([text])
        assert tokens.all == len(tokenizer.encode(text))
        assert tokens.with_digits == 2


def test_a_unigram_tokenizer_json_counts_by_the_library(tmp_path):
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁ab", -1.0), ("a", -3.0), ("b", -3.0), ("7", -3.0)]
    unigram = LibraryTokenizer(models.Unigram(pieces, 0, byte_fallback=False))
    unigram.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always")
    unigram.save(str(tmp_path / "tokenizer.json"))
    counter = open_counter(str(tmp_path))
    assert [tuple(t) for t in counter.count(["ab 7", "b"])] == [(3, 1), (2, 0)]


def sentencepiece_gguf(path: Path, **changes) -> Path:
    tokens = ["<unk>", "<s>", "▁", "a", "b", "ab", "▁ab", "1", "aa"]
    tokens += [f"<0x{value:02X}>" for value in range(256)]
    kinds = [TokenType.UNKNOWN, TokenType.CONTROL] + [TokenType.NORMAL] * 7
    kinds += [TokenType.BYTE] * 256
    values = {
        "general.architecture": "llama",
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0, 0, -5, -6, -7, -1, -2, -8, -9] + [0] * 256,
        "tokenizer.ggml.token_type": [int(kind) for kind in kinds],
        "tokenizer.ggml.unknown_token_id": 0,
    }
    values = {key: value for key, value in (values | changes).items() if value is not None}
    write_gguf(path, values, [])
    return path


def test_a_sentencepiece_gguf_merges_by_score_and_falls_back_to_bytes(tmp_path):
    encoder = encoder_from_gguf(sentencepiece_gguf(tmp_path / "spm.gguf"))
    assert encoder.encode("ab").tokens == ["▁ab"]
    assert encoder.encode("aab b").tokens == ["▁", "a", "ab", "▁", "b"]
    assert encoder.encode("é1").tokens == ["▁", "<0xC3>", "<0xA9>", "1"]
    counter = open_counter(str(tmp_path / "spm.gguf"))
    assert [tuple(t) for t in counter.count(["a1é"])] == [(5, 1)]  # bytes hold no digit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokenizer.ggml.model": "bert"}, "kind 'bert'; gpt2, llama, gemma4 and t5 are read"),
        ({"tokenizer.ggml.scores": None}, "tokenizer.ggml.scores is missing"),
        (
            {"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "odd"},
            "tokenizer.ggml.pre = 'odd' is not known",
        ),
    ],
)
def test_a_gguf_that_can_not_be_read_says_why(tmp_path, changes, message):
    path = sentencepiece_gguf(tmp_path / "bad.gguf", **changes)
    with pytest.raises(UserError, match=re.escape(message)):
        open_counter(str(path))


def test_what_is_no_tokenizer_says_so(tmp_path):
    with pytest.raises(UserError, match=r"--tokenizers nowhere: no such file, and no name of the"):
        open_counter("nowhere")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"is not a tokenizer\.json"):
        open_counter(str(tmp_path / "tokenizer.json"))
    (tmp_path / "x.model").write_bytes(b"no")
    with pytest.raises(UserError, match=r"x\.model"):
        open_counter(str(tmp_path / "x.model"))


@pytest.mark.real
@pytest.mark.parametrize(
    "name",
    [
        *("llama-spm", "llama-bpe", "falcon", "deepseek-llm", "deepseek-coder", "starcoder"),
        *("command-r", "gemma-4", "gpt-2", "phi-3", "qwen2", "refact"),
    ],
)
def test_gguf_vocabularies_give_the_recorded_ids(name):
    file = next(vocabulary_folder().rglob(f"ggml-vocab-{name}.gguf"))
    encoder = encoder_from_gguf(file)
    texts = Path(f"{file}.inp").read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    expected = Path(f"{file}.out").read_text().split("\n")
    assert len(texts) >= 46
    for text, line in zip(texts, expected, strict=False):
        found = encoder.encode(text, add_special_tokens=False).ids
        assert found == [int(i) for i in line.split()], repr(text)


def sentencepiece_model(name: str, folder: Path) -> Path:
    """Return a named GGUF vocabulary as a .model file of the sentencepiece library."""
    pb = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    values = open_gguf(fetch_peer(PEERS[name])).values
    unigram = values["tokenizer.ggml.model"] == "t5"
    model = pb.ModelProto()
    keys = ("tokens", "scores", "token_type")
    for token, score, kind in zip(*(values[f"tokenizer.ggml.{k}"] for k in keys), strict=True):
        model.pieces.add(piece=token, score=float(score), type=int(kind))
    model.trainer_spec.model_type = 1 if unigram else 2
    model.trainer_spec.byte_fallback = not unigram
    model.trainer_spec.unk_id = int(values.get("tokenizer.ggml.unknown_token_id", 0))
    if unigram:
        model.trainer_spec.bos_id, model.trainer_spec.eos_id, model.trainer_spec.pad_id = 0, 2, 1
        charsmap = np.asarray(values["tokenizer.ggml.precompiled_charsmap"])
        model.normalizer_spec.precompiled_charsmap = charsmap.astype(np.uint8).tobytes()
    model.normalizer_spec.add_dummy_prefix = True
    model.normalizer_spec.remove_extra_whitespaces = unigram
    (folder / f"{name}.model").write_bytes(model.SerializeToString())
    return folder / f"{name}.model"


@pytest.mark.real
@pytest.mark.parametrize(("name", "tolerance"), [("xlm-r", 2), ("llama", 0), ("baichuan", 0)])
def test_files_without_recorded_ids_count_as_the_sentencepiece_library(name, tolerance, tmp_path):
    """Unigram has near-ties, in which the libraries may take different cuts of one length."""
    theirs = open_counter(str(sentencepiece_model(name, tmp_path)))
    ours = open_counter(name)
    texts = [Path(file).read_text(encoding="utf-8") for file in (__file__, tokenize.__file__)]
    cases = next(vocabulary_folder().rglob("ggml-vocab-llama-spm.gguf.inp"))
    texts += cases.read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    for text, one, other in zip(texts, theirs.count(texts), ours.count(texts), strict=True):
        assert abs(one.all - other.all) <= tolerance, text[:80]


@pytest.mark.real
def test_single_digits_are_what_parts_the_two_kinds_of_cl100k():
    own, single = (open_counter(name) for name in ("cl100k", "cl100k-single-digits"))
    assert [tuple(t) for t in own.count(["In 2023, 1234567"])] == [(9, 5)]
    assert [tuple(t) for t in single.count(["In 2023, 1234567"])] == [(15, 11)]
    assert set(PEERS) >= {"xlm-r", "qwen", "llama", "baichuan"}
