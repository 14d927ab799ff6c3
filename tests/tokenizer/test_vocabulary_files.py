"""Vocabulary files in and out, and other libraries reading ours."""

import base64
import json
import random
from pathlib import Path

import pytest
from tokenizers import Tokenizer as PeerTokenizer

from openqwen.core.errors import UserError
from openqwen.tokenizer.files import CONFIG_FILE, JSON_FILE, RANK_FILE, read_ranks, write_ranks
from openqwen.tokenizer.huggingface import GPT2_PATTERN, byte_letters
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import list_merges, split_by_merges

SIGNS = [
    *"abcXYZ019 \t\n\r.,;!?'^_-=/\\<>|{}\0",
    *["  ", "\n\n", " \n", "'s", "'LL", "é", "e\u0301", "ß", "Ж", "ا", "中", "文", "한", "ไ", "😀"],
    *["\u3000", "\u00a0", "\u2028", "\u200b", "\x1c", "\x85", "½", "Ⅷ", "٣", "ſ", "’s", "<|"],
    *["<|im_end|>", "<|extra_1|>"],
]


def fuzzed_texts(count: int) -> list[str]:
    draw = random.Random(7)
    return ["".join(draw.choices(SIGNS, k=draw.randint(0, 40))) for _ in range(count)]


def rank_lines(ranks: dict[bytes, int]) -> list[bytes]:
    return [base64.b64encode(token) + b" %d" % rank for token, rank in ranks.items()]


def edited_json(saved: Path, tmp_path: Path, **changes) -> Path:
    data = json.loads((saved / JSON_FILE).read_text())
    for path, value in changes.items():
        *parents, last = path.split("__")
        node = data
        for part in parents:
            node = node[part]
        node[last] = value
    file = tmp_path / JSON_FILE
    file.write_text(json.dumps(data))
    return file


def test_every_saved_form_loads_as_the_same_vocabulary(tokenizer, saved, texts):
    for path in (saved, saved / RANK_FILE, saved / JSON_FILE, str(saved)):
        loaded = Tokenizer.from_file(path)
        assert loaded.ranks == tokenizer.ranks
        assert loaded.control_tokens == tokenizer.control_tokens
        assert loaded.nfc is False
        assert loaded.encode_batch(texts[:20]) == tokenizer.encode_batch(texts[:20])


def test_saving_twice_gives_the_same_bytes(saved, tmp_path):
    Tokenizer.from_file(saved / JSON_FILE).save(tmp_path)
    for name in (RANK_FILE, JSON_FILE, CONFIG_FILE):
        assert (tmp_path / name).read_bytes() == (saved / name).read_bytes()


def test_composing_is_remembered_by_both_forms(tokenizer, tmp_path):
    Tokenizer(tokenizer.ranks, nfc=True).save(tmp_path)
    assert Tokenizer.from_file(tmp_path / RANK_FILE).nfc is True
    assert Tokenizer.from_file(tmp_path / JSON_FILE).nfc is True


def test_other_control_tokens_are_read_from_the_table_beside_the_ranks(tokenizer, tmp_path):
    controls = {"<|endoftext|>": 1_200, "<tool_call>": 1_201, "<|im_end|>": 1_207}
    Tokenizer(tokenizer.ranks, controls=controls).save(tmp_path)
    for path in (tmp_path, tmp_path / JSON_FILE):
        loaded = Tokenizer.from_file(path)
        assert loaded.control_tokens == controls
        assert loaded.vocab_size == 1_208
        assert loaded.encode("<tool_call>", allowed_special="all") == [1_201]
    peer = PeerTokenizer.from_file(str(tmp_path / JSON_FILE))
    assert peer.encode("<|im_end|><tool_call>a").ids[:2] == [1_207, 1_201]


def test_the_tokenizers_library_gives_equal_ids_from_our_file(tokenizer, saved, texts):
    peer = PeerTokenizer.from_file(str(saved / JSON_FILE))
    assert peer.get_vocab_size() == tokenizer.vocab_size
    for text in [*texts[:100], *fuzzed_texts(3_000)]:
        ids = tokenizer.encode(text, allowed_special="all")
        assert peer.encode(text, add_special_tokens=False).ids == ids, text
        assert peer.decode(ids, skip_special_tokens=False) == text


def test_the_transformers_library_gives_equal_ids_and_knows_the_end_token(tokenizer, saved, texts):
    transformers = pytest.importorskip("transformers")
    peer = transformers.PreTrainedTokenizerFast.from_pretrained(str(saved))
    assert len(peer) == tokenizer.vocab_size
    assert peer.eos_token_id == peer.pad_token_id == tokenizer.eos_id
    for text in [*texts[:20], *fuzzed_texts(300)]:
        assert peer.encode(text) == tokenizer.encode(text, allowed_special="all"), text


def test_a_token_no_merge_can_make_is_still_found_as_a_whole_piece(tokenizer, tmp_path):
    ranks = dict(tokenizer.ranks) | {b"zqzq": 1_200}
    odd = Tokenizer(ranks)
    assert len(list_merges(ranks)) == 1_200 - 256
    odd.save(tmp_path)
    peer = PeerTokenizer.from_file(str(tmp_path / JSON_FILE))
    for text in ("zqzq", " zqzq zqzqa", "zqzq."):
        assert odd.encode(text) == peer.encode(text).ids
    assert odd.encode("zqzq") == [1_200]
    assert Tokenizer.from_file(tmp_path / JSON_FILE).encode("zqzq") == [1_200]


def test_merges_are_the_last_step_that_makes_each_token():
    ranks = {bytes([i]): i for i in range(256)} | {b"ab": 256, b"bc": 257, b"abc": 258, b"cbc": 259}
    assert split_by_merges(b"abc", ranks) == [b"ab", b"c"]
    assert split_by_merges(b"cbc", ranks) == [b"c", b"bc"]
    assert list_merges(ranks) == [(b"a", b"b"), (b"b", b"c"), (b"ab", b"c"), (b"c", b"bc")]


def test_bytes_are_spelled_with_the_letters_of_gpt2():
    letters = byte_letters()
    assert len(set(letters)) == 256
    assert letters[ord(" ")] == "Ġ"
    assert letters[ord("\n")] == "Ċ"
    assert letters[0xE4] == "ä"
    assert letters[0xAD] == "Ń"


def test_a_gpt2_style_pre_tokenizer_is_read_too(tokenizer, saved, tmp_path):
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    file = edited_json(saved, tmp_path, pre_tokenizer=byte_level | {"use_regex": True})
    loaded = Tokenizer.from_file(file)
    assert loaded.pattern == GPT2_PATTERN
    peer = PeerTokenizer.from_file(str(file))
    for text in [t for t in fuzzed_texts(500) if "<|" not in t]:
        assert loaded.encode(text) == peer.encode(text).ids, text
    loaded.save(tmp_path / "again")
    assert not (tmp_path / "again" / RANK_FILE).exists()
    assert Tokenizer.from_file(tmp_path / "again").encode("a  12") == loaded.encode("a  12")


def test_merges_may_be_written_as_pairs(saved, tmp_path, tokenizer):
    merges = json.loads((saved / JSON_FILE).read_text())["model"]["merges"]
    file = edited_json(saved, tmp_path, model__merges=[line.split(" ") for line in merges])
    assert Tokenizer.from_file(file).ranks == tokenizer.ranks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__type": "Unigram"}, "Unigram, not byte-level BPE"),
        ({"model__byte_fallback": True}, "not byte-level BPE"),
        ({"pre_tokenizer": {"type": "Metaspace"}}, "pre-tokenizer is"),
        ({"pre_tokenizer": None}, "pre-tokenizer is null"),
        ({"normalizer": {"type": "NFKC"}}, "normalizer is NFKC"),
        ({"model__merges": []}, "no merge makes the token"),
        ({"model__merges": ["x"]}, "not a tokenizer.json"),
        ({"model__vocab": {"中": 0}, "model__merges": []}, "not byte-level"),
        ({"model": {}}, "not a tokenizer.json"),
        ({"added_tokens": [{"id": 5, "content": "<|x|>"}]}, "id 5 of <|x|> belongs to another"),
    ],
)
def test_an_unfit_tokenizer_json_is_refused_in_one_line(saved, tmp_path, changes, message):
    file = edited_json(saved, tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        Tokenizer.from_file(file)
    assert message in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_merges_against_the_order_of_ids_are_refused(saved, tmp_path):
    merges = json.loads((saved / JSON_FILE).read_text())["model"]["merges"]
    file = edited_json(saved, tmp_path, model__merges=merges[::-1])
    with pytest.raises(UserError, match="ids are not ranks"):
        Tokenizer.from_file(file)


def damaged(lines: list[bytes], how: str) -> list[bytes]:
    long_token = base64.b64encode(b"xyzzy") + b" 65"
    return {
        "pointer": [b"version https://git-lfs.github.com/spec/v1", b"oid sha256:00", b"size 9"],
        "base64": [*lines[:4], b"!!! 4", *lines[5:]],
        "no rank": [*lines[:4], lines[4].split()[0], *lines[5:]],
        "hole": [*lines[:300], *lines[301:]],
        "double rank": [*lines[:300], lines[300].split()[0] + b" 299", *lines[301:]],
        "double token": [*lines[:300], lines[299].split()[0] + b" 300", *lines[301:]],
        "no byte": [*lines[:65], long_token, *lines[66:]],
        "empty": [],
    }[how]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("pointer", "is a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
        ("base64", "line 5 is '!!! 4', not a token in base64"),
        ("no rank", "line 5 is"),
        ("hole", "rank 300 is missing"),
        ("double rank", "rank 299 is there twice"),
        ("double token", "line 301 repeats the token of rank 299"),
        ("no byte", "is no token (1 of 256 missing)"),
        ("empty", "is empty"),
    ],
)
def test_a_damaged_rank_file_is_refused_in_one_line(tokenizer, tmp_path, how, message):
    file = tmp_path / "some.tiktoken"
    file.write_bytes(b"\n".join(damaged(rank_lines(tokenizer.ranks), how)))
    for path in (file, tmp_path):
        with pytest.raises(UserError) as caught:
            Tokenizer.from_file(path)
        assert message in str(caught.value)
        assert str(file) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pointer_in_place_of_tokenizer_json_is_named_as_such(tmp_path):
    (tmp_path / JSON_FILE).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    with pytest.raises(UserError, match="Git LFS pointer"):
        Tokenizer.from_file(tmp_path)


def test_missing_and_unknown_files_are_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"nowhere does not exist"):
        Tokenizer.from_file(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"holds no vocabulary: neither qwen\.tiktoken nor tok"):
        Tokenizer.from_file(tmp_path)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match=r"model\.gguf is damaged: the version"):
        Tokenizer.from_file(tmp_path)
    for name in ("a.tiktoken", "b.tiktoken"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UserError, match=r"several rank files \(a\.tiktoken, b\.tiktoken\)"):
        Tokenizer.from_file(tmp_path)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ('{"nfc": "yes"}', "nfc = 'yes' is not true or false"),
        ('{"added_tokens_decoder": [1]}', "added_tokens_decoder is not a table"),
        ("{", "is not valid JSON"),
    ],
)
def test_a_broken_config_beside_the_ranks_is_named(tokenizer, tmp_path, config, message):
    write_ranks(tmp_path / RANK_FILE, tokenizer.ranks)
    (tmp_path / CONFIG_FILE).write_text(config)
    with pytest.raises(UserError, match=message):
        Tokenizer.from_file(tmp_path)


def test_a_bare_rank_file_gets_qwens_control_tokens_and_no_composing(tokenizer, tmp_path):
    write_ranks(tmp_path / "other.tiktoken", tokenizer.ranks)
    assert read_ranks(tmp_path / "other.tiktoken") == tokenizer.ranks
    loaded = Tokenizer.from_file(tmp_path)
    assert loaded.control_tokens == tokenizer.control_tokens
    assert loaded.nfc is False
