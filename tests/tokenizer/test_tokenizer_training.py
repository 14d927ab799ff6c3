"""Learning ranks, and the tokenizer stage on a Parquet file."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
import regex

from openqwen.core.config import parse_config
from openqwen.core.documents import Document, write_documents
from openqwen.core.errors import UserError
from openqwen.tokenizer import train as train_module
from openqwen.tokenizer.compression import measure_compression
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import (
    MAX_TOKEN_CHARACTERS,
    train_ranks,
    train_tokenizer,
    training_texts,
)
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, list_merges, split_by_merges

FILES = ["compression.json", "qwen.tiktoken", "tokenizer.json", "tokenizer_config.json"]


def document(name: str, text: str, **facts) -> Document:
    defaults = {"source": "s", "url": "", "licence": "", "media": "text/plain", "language": "en"}
    return Document(id=name, text=text, **(defaults | facts))


def hashes(directory: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(directory.iterdir())}


def test_ranks_are_the_bytes_and_then_the_merges(tokenizer):
    assert sorted(tokenizer.ranks.values()) == list(range(1_200))
    assert all(tokenizer.ranks[bytes([value])] == value for value in range(256))
    assert len(list_merges(tokenizer.ranks)) == 1_200 - 256


def test_each_merge_is_of_a_most_frequent_pair():
    words = "low lower lowest newer newest wider banana bandana 你好 你好吗 naïve"
    text = " ".join(word for i, word in enumerate(words.split()) for _ in range(i % 4 + 1))
    ranks = train_ranks(iter([text, text[:50]]), 290)
    pieces = [
        [bytes([b]) for b in piece.encode()]
        for source in (text, text[:50])
        for piece in regex.findall(QWEN_PATTERN, source)
    ]
    for token in sorted(ranks, key=ranks.__getitem__)[256:]:
        counts = Counter(pair for piece in pieces for pair in pairwise(piece))
        left, right = split_by_merges(token, ranks)
        assert counts[left, right] == max(counts.values())
        for piece in pieces:
            i = 0
            while i + 1 < len(piece):
                if (piece[i], piece[i + 1]) == (left, right):
                    piece[i : i + 2] = [token]
                i += 1


def test_ranks_do_not_depend_on_hash_seed_or_threads(tmp_path):
    program = """if True:
        import hashlib, random
        from openqwen.tokenizer.train import train_ranks
        draw = random.Random(3)
        texts = ["".join(draw.choices("abcde 中文\\n12", k=300)) for _ in range(700)]
        print(hashlib.sha256(repr(train_ranks(iter(texts), 900)).encode()).hexdigest())
    """
    found = set()
    for hash_seed, threads in (("0", "1"), ("1", "2"), ("77", "5")):
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "RAYON_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, check=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_a_megabyte_of_one_sign_does_not_spend_the_vocabulary():
    hostile = ["a" * 1_000_000, "-" * 500_000, " " * 1_100_000, "_" * 300_000, "\ud800x"]
    ranks = train_ranks(iter([*hostile, "plain words and more plain words " * 50]), 300)
    assert max(map(len, ranks)) <= MAX_TOKEN_CHARACTERS
    assert b" words" in ranks


def test_too_little_text_gives_a_smaller_vocabulary_and_says_so(tmp_path, capsys):
    path, out = tmp_path / "documents.parquet", tmp_path / "out"
    write_documents(path, [document("a", ""), document("b", "abc abc abd")])
    counts = train_tokenizer(TokenizerConfig(num_ranks=5_000), path, out)
    assert counts["num_ranks"] == 261
    said = capsys.readouterr().out
    assert "pairs for 261 ranks only, not for tokenizer.num_ranks = 5,000" in said
    assert Tokenizer.from_file(out).decode(Tokenizer.from_file(out).encode("abc 数")) == "abc 数"


def test_no_text_at_all_is_refused(tmp_path):
    path = tmp_path / "documents.parquet"
    write_documents(path, [document("a", "")])
    with pytest.raises(UserError, match="holds no text to learn a vocabulary from"):
        train_tokenizer(TokenizerConfig(num_ranks=5_000), path, tmp_path / "out")


def test_the_stage_writes_a_vocabulary_its_compression_and_counts(tmp_path, texts, capsys):
    documents = [document(f"t{i}", text) for i, text in enumerate(texts)]
    documents += [
        document("empty", ""),
        document("code", "def f(x):\n    return x\n" * 5, media="text/x-python"),
        document(
            "talk",
            "never seen",
            messages=[{"role": "user", "content": "Zwölf Boxkämpfer " * 30}],
            epochs=3,
        ),
        document("held", "ПРИВЕТ 2048 " * 200, language="ru", split="validation"),
    ]
    path = tmp_path / "documents.parquet"
    write_documents(path, documents)
    config = TokenizerConfig(num_ranks=800)
    for out in ("first", "second"):
        counts = train_tokenizer(
            config, path, tmp_path / out, keep=lambda document: document.split == "train"
        )
    assert hashes(tmp_path / "first") == hashes(tmp_path / "second")
    assert sorted(hashes(tmp_path / "first")) == FILES
    talk = documents[-2].messages[0]["content"]
    size = sum(len(d.text.encode()) for d in documents[:-2]) + 3 * len(talk.encode())
    assert counts == {
        "documents": len(documents) - 1,
        "bytes": size,
        "held_out_documents": 1,
        "held_out_bytes": len(documents[-1].text.encode()),
        "train_texts": len(documents) + 1,
        "train_bytes": size,
        "num_ranks": 800,
        "vocab_size": 1_008,
    }
    assert "tokenizer read" in capsys.readouterr().out
    trained = Tokenizer.from_file(tmp_path / "first")
    assert trained.nfc is False
    assert " Boxkämpfer".encode() in trained.ranks
    assert not [t for t in trained.ranks if "ПРИ".encode() in t]
    tables = json.loads((tmp_path / "first" / "compression.json").read_text())
    assert [row["group"] for row in tables["trained_on"]] == ["code", "en", "instructions", "all"]
    (held, _) = tables["held_out"]
    assert (held["group"], held["bytes"]) == ("ru", len(documents[-1].text.encode()))
    assert held["digit_share"] > 0.05


def test_a_sample_of_the_text_keeps_the_weight_of_every_kind(tmp_path):
    kinds = ["alpha beta ", "gamma eta  "]  # in turn and of equal size: half of it is not one kind
    documents = [document(f"d{i}", kinds[i % 2] * 40, epochs=1 + (i < 200)) for i in range(400)]
    documents.append(document("long", "theta " * 50_000))
    documents.append(document("unseen", "iota " * 500, split="validation"))
    path = tmp_path / "documents.parquet"
    write_documents(path, documents)

    def sizes(share: float) -> dict[str, int]:
        texts = list(training_texts(path, lambda document: document.split == "train", share))
        return {
            word: sum(len(text) for text in texts if word in text)
            for word in ("alpha", "gamma", "theta", "iota")
        }

    assert sizes(1.0) == {"alpha": 132_000, "gamma": 132_000, "theta": 300_000, "iota": 0}
    half = sizes(0.5)
    assert half["alpha"] == pytest.approx(66_000, rel=0.2)
    assert half["gamma"] == pytest.approx(66_000, rel=0.2)
    assert half["theta"] == pytest.approx(150_000, rel=0.05)


def test_one_document_longer_than_the_limit_is_sampled_too(tmp_path):
    path = tmp_path / "documents.parquet"
    write_documents(path, [document("long", "中文字符和 words " * 50_000)])
    config = TokenizerConfig(num_ranks=260, max_train_bytes=100_001)
    assert 90_000 < train_tokenizer(config, path, tmp_path / "out")["train_bytes"] <= 100_001


def test_compression_counts_bytes_characters_tokens_and_digits(tokenizer):
    rows = measure_compression(
        tokenizer,
        [
            document("a", "12ab", language="en"),
            document("b", "中", language="zh"),
            document("c", "", messages=[{"role": "user", "content": "7"}]),
        ],
    )
    by_group = {row.pop("group"): row for row in rows}
    assert list(by_group) == ["en", "instructions", "zh", "all"]
    letters = len(tokenizer.encode("ab"))
    assert by_group["en"]["tokens"] == 2 + letters
    assert by_group["en"]["digit_share"] == round(2 / (2 + letters), 4)
    assert by_group["zh"]["bytes"] == 3
    assert by_group["zh"]["characters"] == 1
    assert by_group["instructions"]["bytes_per_token"] == 1
    assert by_group["all"]["documents"] == 3
    assert by_group["all"]["bytes"] == 8


def test_settings_say_what_they_mean_and_refuse_what_cannot_be():
    assert TokenizerConfig().num_ranks == 151_643
    with pytest.raises(UserError, match=r"num_ranks = 256 is not valid"):
        parse_config(TokenizerConfig, {"num_ranks": 256}, where="my.toml")


def test_long_runs_are_found_as_the_expression_that_cuts_them_finds_them():
    draw = random.Random(0)
    signs = ["a", "中", " ", "\n", "_", "-", "1", "é", "٣", "\u0301", "\x1c", "\u3000"]
    found = 0
    for _ in range(3_000):
        counts = draw.choices([1, 2, 60, 64, 127, 128, 200], k=draw.randint(0, 5))
        text = "".join(draw.choice(signs) * count for count in counts)
        expected = train_module._LONG_RUN.search(text) is not None
        assert train_module._has_long_run(text) is expected, text
        found += expected
    assert 1_000 < found < 2_900
