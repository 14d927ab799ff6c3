"""Extending a vocabulary: what is added, what never gets worse, and what a user is told."""

import itertools
import json
import random
from pathlib import Path

import numpy as np
import pytest
import regex
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.tokenizer.extend import extend_tokenizer, keep_reachable
from openqwen.tokenizer.extend_base import open_base
from openqwen.tokenizer.extend_config import TokenizerExtendConfig, parse_extend_settings
from openqwen.tokenizer.extend_counts import count_pieces
from openqwen.tokenizer.extend_native import NativeCounter, native_extend, open_trainer
from openqwen.tokenizer.extend_pieces import Limits, split_pieces
from openqwen.tokenizer.extend_report import script_of
from openqwen.tokenizer.extend_slow import SlowCounter, slow_extend
from openqwen.tokenizer.files import write_ranks
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import train_ranks
from openqwen.tokenizer.vocabulary import QWEN_PATTERN, Vocabulary, split_by_merges

BYTES = [bytes([value]) for value in range(256)]
NO_LIMITS = Limits(min_count=1, max_characters=10**6, max_ungapped=10**6, max_han=10**6)
ODD_LETTERS = "ab'stSTreVEmlLdDſ  \t\n\r\u3000\u00a0中文字了09٣½!?。-_é́ก็า\u2028\x85😀"
ASSIGNED = st.characters(exclude_categories=("Cn", "Cs"))
LANGUAGES = ("zh", "en", "th")

needs_compiler = pytest.mark.skipif(open_trainer()[0] is None, reason=open_trainer()[1])


def documents(texts: list[str]) -> list[Document]:
    return [
        Document(f"{i}", "s", "", "", "text/plain", text, language=LANGUAGES[i % 3])
        for i, text in enumerate(texts)
    ]


def config(num_ranks: int, **settings) -> TokenizerExtendConfig:
    return TokenizerExtendConfig(**({"num_ranks": num_ranks, "min_count": 2} | settings))


@pytest.fixture(scope="module")
def base(tokenizer) -> Vocabulary:
    return Vocabulary({t: i for t, i in tokenizer.ranks.items() if i < 700}, {})


@pytest.fixture(scope="module")
def corpus(texts) -> list[str]:
    extra = ["今天天气很好，我们去公园走走吧。", "สวัสดีครับ ผมชื่อ", "naïve façade 12345 №"]
    return [f"{text} {extra[i % 3]}" for i, text in enumerate(texts)]


@pytest.fixture(scope="module")
def extended(base, corpus, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("extended")
    extend_tokenizer(config(900), base, documents(corpus), out)
    return out


def test_the_base_stays_and_the_size_asked_for_is_reached(extended, base):
    ranks = Tokenizer.from_file(extended).ranks
    assert len(ranks) == 900
    assert {token: ranks[token] for token in base.ranks} == dict(base.ranks)


def test_each_added_token_re_encodes_to_itself_whole_characters_or_not(extended, base):
    tokenizer = Tokenizer.from_file(extended)
    partial = 0
    for token, rank in tokenizer.ranks.items():
        if token in base.ranks:
            continue
        assert len(split_by_merges(token, tokenizer.ranks)) == 2
        try:
            assert tokenizer.encode(token.decode()) == [rank]
        except UnicodeDecodeError:
            partial += 1
    assert (
        partial
        == json.loads((extended / "extension.json").read_text())["scripts"].get(
            "part of a character", {"tokens": 0}
        )["tokens"]
    )


@given(text=st.text() | st.text(alphabet=ODD_LETTERS + "快的棕色狐狸跳过了สุนัข", max_size=80))
def test_no_text_gets_more_tokens_than_by_the_base(extended_tokenizers, text):
    before, after = (len(t.encode(text)) for t in extended_tokenizers)
    assert after <= before
    assert extended_tokenizers[1].decode(extended_tokenizers[1].encode(text)) == text.encode(
        "utf-16-le", "surrogatepass"
    ).decode("utf-16-le", "replace")


@pytest.fixture(scope="module")
def extended_tokenizers(extended, base) -> tuple[Tokenizer, Tokenizer]:
    return Tokenizer(base.ranks), Tokenizer.from_file(extended)


def test_text_like_the_corpus_gets_fewer_tokens(extended_tokenizers, corpus):
    before, after = (sum(map(len, t.encode_batch(corpus))) for t in extended_tokenizers)
    assert after < 0.9 * before


def test_the_bytes_do_not_depend_on_threads_or_order(extended, base, corpus, tmp_path):
    shuffled = documents(corpus)
    random.Random(5).shuffle(shuffled)
    extend_tokenizer(config(900, num_threads=5), base, shuffled, tmp_path)
    for name in ("qwen.tiktoken", "tokenizer.json"):
        assert (tmp_path / name).read_bytes() == (extended / name).read_bytes()


def test_each_merge_is_of_a_heaviest_pair_under_the_encoding_so_far():
    text = "low lower lowest newer newest wider banana bandana 你好 你好吗 " * 3
    counter = SlowCounter(10**7)
    counter.add(0, text.encode(), 1)
    pieces = counter.finish()
    merges = slow_extend(pieces, pieces.counts, BYTES, 30, NO_LIMITS)
    tokens = list(BYTES)
    for left, right, seen in merges:
        encoder = Tokenizer({token: i for i, token in enumerate(tokens)})
        pairs: dict[tuple[int, int], int] = {}
        for piece in regex.findall(QWEN_PATTERN, text):
            ids = encoder.encode(piece)
            for pair in itertools.pairwise(ids):
                pairs[pair] = pairs.get(pair, 0) + 1
        assert pairs[left, right] == seen == max(pairs.values())
        tokens.append(tokens[left] + tokens[right])
    assert len(set(tokens)) == len(tokens)


@given(text=st.text(alphabet=ODD_LETTERS, max_size=60) | st.text(alphabet=ASSIGNED))
def test_pieces_are_those_of_the_pattern(text):
    whole = text.encode("utf-8", "replace").decode()
    expected = [piece.encode() for piece in regex.findall(QWEN_PATTERN, whole)]
    assert list(split_pieces(whole)) == expected


@needs_compiler
@given(text=st.text(alphabet=ODD_LETTERS, max_size=80) | st.text())
def test_the_compiled_counter_counts_what_the_python_one_counts(text):
    whole = text.encode("utf-8", "replace")
    fast, slow = NativeCounter(open_trainer()[0], 10**7), SlowCounter(10**7)
    for counter in (fast, slow):
        counter.add(0, whole, 1)
        counter.add(1, whole, 3)
    found = [
        sorted(zip(p, p.groups.tolist(), p.counts.tolist(), strict=True))
        for p in (fast.finish(), slow.finish())
    ]
    assert found[0] == found[1]


@needs_compiler
@hypothesis_settings(max_examples=40)
@given(
    texts=st.lists(st.text(alphabet="aab bc中中文1' \n", max_size=40), min_size=1, max_size=12),
    limits=st.builds(
        Limits, st.integers(1, 3), st.integers(2, 8), st.integers(1, 4), st.integers(1, 3)
    ),
    more=st.integers(0, 5),
)
def test_the_compiled_trainer_learns_what_the_python_one_learns(texts, limits, more):
    counter = SlowCounter(10**7)
    for text in texts:
        counter.add(0, text.encode(), 1)
    pieces = counter.finish()
    if not len(pieces.counts):
        return
    base = [*BYTES, b"ab", b"bc", "中".encode()[:2], "中".encode(), b"aab", b"aa"][: 256 + more]
    weights = pieces.counts * np.arange(1, len(pieces.counts) + 1)
    fast = native_extend(open_trainer()[0], pieces, weights, base, 50, limits, threads=2)
    assert fast == slow_extend(pieces, weights, base, 50, limits)


def test_a_token_of_the_base_that_no_merge_makes_is_not_made_again(tmp_path):
    base = Vocabulary({token: i for i, token in enumerate([*BYTES, b"wxyz"])}, {})
    extend_tokenizer(config(259, min_count=1), base, documents(["wxyzz " * 9, "wxy"]), tmp_path)
    assert sorted(Tokenizer.from_file(tmp_path).ranks.values()) == list(range(259))


@needs_compiler
@given(counts=st.lists(st.integers(0, 9), min_size=12, max_size=36))
def test_runs_of_one_letter_give_each_token_once(counts):
    runs = ["a" * (i % 12 + 1) + "bca"[i // 12] for i in range(len(counts))]
    counter = SlowCounter(10**7)
    counter.add(0, b"a", 1)
    for run, count in zip(runs, counts, strict=True):
        counter.add(0, run.encode(), count + 1)
    pieces = counter.finish()
    base = [*BYTES, b"ab", b"ca"]
    slow = slow_extend(pieces, pieces.counts, base, 60, NO_LIMITS)
    assert (
        native_extend(open_trainer()[0], pieces, pieces.counts, base, 60, NO_LIMITS, threads=1)
        == slow
    )
    tokens = list(base)
    for left, right, _ in slow:
        tokens.append(tokens[left] + tokens[right])
    assert len(set(tokens)) == len(tokens)


@needs_compiler
def test_a_full_table_samples_and_still_depends_on_the_text_alone(monkeypatch):
    draw = random.Random(3)
    texts = ["".join(draw.choices("天地玄黄宇宙洪荒", k=30)) + " the end" for _ in range(30_000)]
    found = []
    for order, threads in ((texts, 1), (texts[::-1], 4)):
        counted = count_pieces(documents(order), table_bytes=900_000, num_threads=threads)
        pieces = counted.pieces
        assert len(pieces.data) + 48 * len(pieces.counts) <= 900_000
        groups = [counted.names[i] for i in pieces.groups]
        found.append(sorted(zip(pieces, groups, pieces.counts, pieces.halvings, strict=True)))
    by_text = [[(p, n, h) for p, _, n, h in some if p in (b" the", b" end")] for some in found]
    assert sum(n for _, n, _ in by_text[0]) == 2 * 30_000
    stood_for = sum(n * 2 ** int(h) for p, _, n, h in found[0] if len(p) > 60)
    assert stood_for == pytest.approx(30_000, rel=0.1)
    assert int(max(h for *_, h in found[0])) >= 1


def test_numbers_of_the_base_make_room(base, corpus, tmp_path):
    ranks = [*sorted(base.ranks, key=base.ranks.__getitem__), b"12", b"123"]
    numbered = Vocabulary({token: i for i, token in enumerate(ranks)}, {})
    counts = extend_tokenizer(config(800), numbered, documents(corpus), tmp_path)
    assert counts["base_ranks"] == 700
    assert counts["added_ranks"] == 100
    assert b"12" not in Tokenizer.from_file(tmp_path).ranks
    report = json.loads((tmp_path / "extension.json").read_text())
    assert report["base_numbers_left_out"] == 2


def test_a_token_without_its_step_is_taken_out_and_so_is_what_stands_on_it():
    kept, removed = keep_reachable(BYTES, [b"ab", b"wxyz", b"wxyzq"])
    assert kept == [b"ab"]
    assert removed == [b"wxyz", b"wxyzq"]


def test_tokens_keep_to_the_longest_allowed(base, tmp_path):
    text = "中华人民共和国万岁" * 40 + "\n" + "สวัสดีครับ" * 40
    extend_tokenizer(
        config(900, max_han_characters=3, max_ungapped_characters=4),
        base,
        documents([text] * 3),
        tmp_path,
    )
    added = set(Tokenizer.from_file(tmp_path).ranks) - set(base.ranks)
    whole = [t.decode("utf-8", "ignore") for t in added]
    assert max(len(t) for t in whole if "中" in t or "国" in t) == 3
    assert max(map(len, whole)) <= 5


def test_a_weight_decides_between_languages(base, tmp_path):
    texts = documents(["天天地地" * 30, "ghost writer ghost writer " * 30, ""])
    for name, weights in (("zh", {"en": 0.0}), ("en", {"zh": 0.0})):
        extend_tokenizer(config(705, weights=weights), base, texts[:2], tmp_path / name)
    added = {
        name: set(Tokenizer.from_file(tmp_path / name).ranks) - set(base.ranks)
        for name in ("zh", "en")
    }
    assert not any(token.isascii() for token in added["zh"])
    assert all(token.isascii() for token in added["en"])


@pytest.mark.parametrize(
    ("token", "script"),
    [
        ("中文".encode(), "Han"),
        (" словo".encode(), "Cyrillic"),
        ("ータ".encode(), "Katakana"),
        (b"\xe4\xb8", "part of a character"),
        (b"##", "signs"),
    ],
)
def test_scripts_are_told_by_letters(token, script):
    assert script_of(token) == script


def test_too_little_text_says_so_and_saves_what_there_is(base, tmp_path, capsys):
    counts = extend_tokenizer(config(5_000), base, documents(["abc 天地玄黄 " * 5]), tmp_path)
    assert counts["num_ranks"] < 5_000
    assert "seen 2 times, not the 4,300 asked for" in capsys.readouterr().out


def test_errors_name_what_to_mend(base, corpus, tmp_path):
    texts = documents(corpus[:3])
    with pytest.raises(UserError, match=r"num_ranks = 700 is not above the base's 700 ranks"):
        extend_tokenizer(config(700), base, texts, tmp_path)
    with pytest.raises(UserError, match="no text to learn"):
        extend_tokenizer(config(800), base, [], tmp_path)
    with pytest.raises(UserError, match="names 'fr'; the text has en, th, zh"):
        extend_tokenizer(config(800, weights={"fr": 2.0}), base, texts, tmp_path)
    holed = Vocabulary({**base.ranks, b"qqqq": 9_999}, {})
    with pytest.raises(UserError, match="ids with holes"):
        extend_tokenizer(config(800), holed, texts, tmp_path)
    with pytest.raises(
        UserError, match=r"--from nowhere\.tiktoken: no such file; cl100k, qwen and"
    ):
        open_base("nowhere.tiktoken")
    with pytest.raises(UserError, match=r"min_cout is not a setting; did you mean min_count"):
        parse_extend_settings(["extend.min_cout=3"])
    with pytest.raises(UserError, match=r"write extend\.KEY=VALUE"):
        parse_extend_settings(["num_ranks=3"])


def test_a_rank_file_is_a_base(base, tmp_path):
    write_ranks(tmp_path / "mine.tiktoken", base.ranks)
    assert dict(open_base(str(tmp_path / "mine.tiktoken")).ranks) == dict(base.ranks)


def test_from_bytes_is_training_from_nothing(corpus, tmp_path):
    config_of_bytes = config(400, balance=1.0, min_count=1)
    extend_tokenizer(config_of_bytes, open_base("bytes"), documents(corpus), tmp_path)
    trained = train_ranks(iter(corpus), 400)
    ours = Tokenizer.from_file(tmp_path).ranks
    assert len(set(ours) & set(trained)) >= 398  # equal counts may be taken in another order


@pytest.mark.real
def test_the_published_ranks_are_cl100k_without_its_numbers_and_more():
    cl100k, qwen = (
        sorted(vocabulary.ranks, key=vocabulary.ranks.__getitem__)
        for vocabulary in (open_base("cl100k"), open_base("qwen"))
    )
    kept = [token for token in cl100k if not (len(token) > 1 and token.isdigit())]
    assert len(cl100k) - len(kept) == 1_100
    assert qwen[: len(kept)] == kept
