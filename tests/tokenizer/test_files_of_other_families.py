"""tokenizer.json both ways, held against the `tokenizers` library on text in thirty scripts."""

import contextlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripts_for_tests import random_text
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as PeerTokenizer

from openqwen.core.errors import UserError
from openqwen.tokenizer.huggingface import byte_letters
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import (
    LLAMA3_PATTERN,
    QWEN_PATTERN,
    list_merges,
    split_by_merges,
)

# split patterns as files of these families have them
POSSESSIVE = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|"
    r"\s*[\r\n]|\s+(?!\S)|\s"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+"
    r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
FAMILIES = {
    "gpt2": None,
    "qwen": QWEN_PATTERN,
    "llama3": LLAMA3_PATTERN,
    "possessive": POSSESSIVE,
    "o200k": O200K,
    "words only": r"\p{L}+",  # leaves text between its matches
}


def sample(count, seed):
    draw = random.Random(seed)
    return [random_text(draw, 300) for _ in range(count)]


def peer_of_family(regex, texts):
    peer = PeerTokenizer(models.BPE())
    if regex is None:
        peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        split = pre_tokenizers.Split(Regex(regex), "isolated")
        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        peer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    peer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=900,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|endoftext|>"],
        show_progress=False,
    )
    peer.train_from_iterator(texts, trainer)
    return peer


@pytest.mark.parametrize("family", FAMILIES)
def test_files_of_other_families_give_the_ids_their_library_gives(family, texts, tmp_path):
    peer = peer_of_family(FAMILIES[family], [*texts, *sample(60, seed=1)])
    peer.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_file(tmp_path / "tokenizer.json")
    probes = [*sample(120, seed=2), *texts[:60], "a\n  ", " \n ", "x  \t", "'S 'ſ it'LL 12345"]
    wanted = [encoded.ids for encoded in peer.encode_batch(probes)]
    assert ours.encode_batch(probes) == wanted
    assert [ours.decode(ids) for ids in wanted] == probes
    marked = "a<|endoftext|> b"
    assert ours.encode(marked, allowed_special="all") == peer.encode(marked).ids
    ours.save(tmp_path / "again")  # and out again
    again = PeerTokenizer.from_file(str(tmp_path / "again" / "tokenizer.json"))
    assert [encoded.ids for encoded in again.encode_batch(probes)] == wanted


@pytest.mark.parametrize("pattern", [QWEN_PATTERN, LLAMA3_PATTERN])
def test_our_file_gives_our_ids_in_their_library_in_thirty_scripts(tokenizer, pattern, tmp_path):
    ours = Tokenizer(tokenizer.ranks, pattern=pattern)
    ours.save(tmp_path)
    peer = PeerTokenizer.from_file(str(tmp_path / "tokenizer.json"))
    probes = sample(200, seed=3)
    probes += [f"{text}<|im_end|>{text[:9]}<|im_start|>" for text in probes[:50]]
    ids = ours.encode_batch(probes, allowed_special="all")
    assert [encoded.ids for encoded in peer.encode_batch(probes)] == ids
    again = Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert again.encode_batch(probes, allowed_special="all") == ids


@given(seed=st.integers(0, 2**32), whole=st.booleans())
def test_merges_that_ids_alone_would_not_give_are_refused(tmp_path_factory, seed, whole):
    """Whatever merges a file lists for its tokens: the library's ids, or a refusal."""
    draw = random.Random(seed)
    vocab = {letter: i for i, letter in enumerate(byte_letters())}
    names, merges = list("ab"), []
    for _ in range(draw.randint(2, 9)):
        token = draw.choice(names) + draw.choice(names)
        if token not in vocab and len(token) < 9:
            cuts = [c for c in range(1, len(token)) if {token[:c], token[c:]} <= set(names)]
            kept = draw.sample(cuts, draw.randint(1, len(cuts)))
            merges += [(token[:cut], token[cut:]) for cut in kept]
            vocab[token] = len(vocab)
            names.append(token)
    peer = PeerTokenizer(models.BPE(vocab, merges, ignore_merges=whole))
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    file = tmp_path_factory.mktemp("file") / "tokenizer.json"
    peer.save(str(file))
    with contextlib.suppress(UserError):  # its wording: the next test
        ours = Tokenizer.from_file(file)
        for _ in range(20):
            text = "".join(draw.choices("ab", k=draw.randint(1, 20)))
            assert ours.encode(text) == peer.encode(text).ids


def test_a_merge_that_never_happens_is_refused_by_name(tmp_path):
    vocab = {letter: i for i, letter in enumerate(byte_letters())}
    vocab |= {"ab": 256, "bc": 257, "abc": 258}
    merges = [("a", "b"), ("b", "c"), ("a", "bc")]  # by ids it would be ab and c
    peer = PeerTokenizer(models.BPE(vocab, merges))
    peer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    peer.save(str(tmp_path / "tokenizer.json"))
    assert peer.encode("abc").ids == [256, vocab["c"]]
    with pytest.raises(UserError, match=r"'abc'.*the order of ids would"):
        Tokenizer.from_file(tmp_path / "tokenizer.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["model"].update(end_of_word_suffix="</w>"), "end_of_word_suffix is '</w>'"),
        (lambda d: d["model"].update(continuing_subword_prefix="##"), "prefix is '##'"),
        (lambda d: d["model"].update(dropout=0.1), "dropout is 0.1"),
        (lambda d: d["model"]["merges"].append([1, 2]), "not a tokenizer.json"),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="(a"),
            "its split pattern '(a' can't be used: Parsing error",
        ),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(
                Regex=r"\p{N}{1,3}+|[^$]"
            ),
            "}+ means something else to its library",
        ),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex=r"\s++$|."),
            "$ means something else to its library",
        ),
        (
            lambda d: d["pre_tokenizer"]["pretokenizers"].insert(
                0, {"type": "Digits", "individual_digits": True}
            ),
            "its pre-tokenizer is",
        ),
    ],
)
def test_what_cannot_be_exact_is_refused_in_one_line(saved, tmp_path, change, message):
    data = json.loads((saved / "tokenizer.json").read_text())
    change(data)
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    with pytest.raises(UserError) as caught:
        Tokenizer.from_file(tmp_path / "tokenizer.json")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    tokens=st.lists(st.binary(min_size=2, max_size=6), max_size=25, unique=True),
    letters=st.sampled_from([b"ab", b"abc", b"a"]),
    order=st.randoms(use_true_random=False),
)
def test_the_table_of_merges_is_what_making_each_token_gives(tokens, letters, order):
    tokens = dict.fromkeys(bytes(letters[b % len(letters)] for b in t) for t in tokens)
    every = [*(bytes([b]) for b in letters), *tokens]
    order.shuffle(every)
    ranks = {token: i for i, token in enumerate(dict.fromkeys(every))}
    splits = [split_by_merges(token, ranks) for token in ranks if len(token) > 1]
    assert list_merges(ranks) == [(parts[0], parts[1]) for parts in splits if len(parts) == 2]
