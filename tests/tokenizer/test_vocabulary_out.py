"""Vocabularies written for other programs: GGUF's key-values, Qwen-1's files, what is carried."""

import json

import pytest
from gguf_files import write_gguf_file

from openqwen.core.errors import UserError
from openqwen.core.gguf import TokenType
from openqwen.core.gguf_writer import write_gguf
from openqwen.tokenizer.carried import Carried, add_carried, read_carried
from openqwen.tokenizer.control import control_tokens
from openqwen.tokenizer.files import read_vocabulary
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import Vocabulary
from openqwen.tokenizer.write_gguf import gguf_vocabulary, unsaid_in_gguf
from openqwen.tokenizer.write_qwen1 import (
    check_qwen1_vocabulary,
    unsaid_in_qwen1_ranks,
    write_qwen1_vocabulary,
)

RANKS = {bytes([i]): i for i in range(256)} | {b"he": 256, b"ll": 257, b"hell": 258, b" \xe4": 259}
QWEN25 = {"<|endoftext|>": 260, "<|im_start|>": 261, "<|im_end|>": 262, "<tool_call>": 263}


@pytest.fixture
def vocabulary():
    return Vocabulary(RANKS, QWEN25, nfc=True)


def test_a_gguf_vocabulary_spells_tokens_merges_kinds_and_padding(vocabulary):
    fields = gguf_vocabulary(vocabulary, rows=266, chat_template="T", shown={"<tool_call>"})
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert (len(tokens), len(kinds)) == (266, 266)
    assert tokens[255:] == [
        "ÿ", "he", "ll", "hell", "Ġä", "<|endoftext|>", "<|im_start|>", "<|im_end|>",
        "<tool_call>", "[PAD264]", "[PAD265]",
    ]  # fmt: skip
    assert kinds[259:] == [
        TokenType.NORMAL, TokenType.CONTROL, TokenType.CONTROL, TokenType.CONTROL,
        TokenType.USER_DEFINED, TokenType.UNUSED, TokenType.UNUSED,
    ]  # fmt: skip
    assert fields["tokenizer.ggml.merges"] == ["h e", "l l", "he ll", "Ġ ä"]
    assert fields["tokenizer.ggml.pre"] == "qwen2"
    assert fields["tokenizer.ggml.add_bos_token"] is False
    assert fields["tokenizer.ggml.eos_token_id"] == 262
    assert fields["tokenizer.chat_template"] == "T"
    base = gguf_vocabulary(vocabulary, rows=266, chat_template=None, is_chat=False)
    assert base["tokenizer.ggml.eos_token_id"] == 260
    assert "tokenizer.chat_template" not in base
    assert len(unsaid_in_gguf(vocabulary)) == 1


def test_a_gguf_vocabulary_read_back_encodes_alike_and_carries_its_template(vocabulary, tmp_path):
    fields = gguf_vocabulary(vocabulary, rows=266, chat_template="T", shown={"<tool_call>"})
    write_gguf(tmp_path / "x.gguf", {"general.architecture": "qwen2"} | fields, [])
    again = Tokenizer.from_file(tmp_path / "x.gguf")
    first = Tokenizer(RANKS, controls=QWEN25, nfc=True)
    assert (again.ranks, again.control_tokens) == (first.ranks, first.control_tokens)
    text = "hello 世界 <|im_end|> hell"
    assert again.encode(text, allowed_special="all") == first.encode(text, allowed_special="all")
    carried = read_carried(tmp_path / "x.gguf")
    assert carried == Carried("T", frozenset({"<tool_call>"}))


def test_what_llama_cpp_can_not_do_is_one_line(vocabulary):
    with pytest.raises(UserError, match="the tokenizer has id 263, the model only 263 rows"):
        gguf_vocabulary(vocabulary, rows=263, chat_template=None)
    with pytest.raises(UserError, match="no name for this tokenizer's split pattern"):
        gguf_vocabulary(Vocabulary(RANKS, {}, pattern=r"\w+|\W"), rows=300, chat_template=None)


def test_qwen1_files_are_as_published_and_keep_what_only_we_read(vocabulary, tmp_path):
    plain = Vocabulary(RANKS, control_tokens(len(RANKS)), nfc=True)
    write_qwen1_vocabulary(tmp_path, plain, train_length=2048)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "QWenTokenizer"
    assert config["auto_map"] == {"AutoTokenizer": ["tokenization_qwen.QWenTokenizer", None]}
    assert "added_tokens_decoder" not in config
    assert sorted(p.name for p in tmp_path.iterdir()) == ["qwen.tiktoken", "tokenizer_config.json"]
    assert unsaid_in_qwen1_ranks(plain) == []
    write_qwen1_vocabulary(tmp_path, vocabulary, train_length=2048)
    again = Tokenizer.from_file(tmp_path)
    assert (again.ranks, again.control_tokens, again.nfc) == (RANKS, QWEN25, True)
    assert unsaid_in_qwen1_ranks(Vocabulary(RANKS, QWEN25)) == [
        "1 control tokens from <tool_call> (id 263) on have other names in Qwen-1's tokenizer code",
        "Qwen-1's tokenizer code composes text (NFC), which this tokenizer does not",
    ]


def test_what_a_rank_file_can_not_say_is_refused():
    with pytest.raises(UserError, match="splits text by another pattern"):
        check_qwen1_vocabulary(Vocabulary(RANKS, {}, pattern=r"\w+|\W"))
    with pytest.raises(UserError, match="ids have holes"):
        check_qwen1_vocabulary(Vocabulary(RANKS | {b"xy": 300}, {}))


def test_template_and_shown_tokens_go_from_directory_to_directory(tmp_path):
    tokenizer = Tokenizer(RANKS, controls=QWEN25)
    for name in ("a", "b"):
        tokenizer.save(tmp_path / name)
    add_carried(tmp_path / "a", Carried("{{ own }}", frozenset({"<tool_call>"})))
    carried = read_carried(tmp_path / "a")
    assert carried == Carried("{{ own }}", frozenset({"<tool_call>"}))
    add_carried(tmp_path / "b", carried)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()
    (tmp_path / "a" / "chat_template.jinja").write_text("{{ newer }}")
    assert read_carried(tmp_path / "a").chat_template == "{{ newer }}"
    several = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    (tmp_path / "b" / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert read_carried(tmp_path / "b").chat_template == "d"
    assert read_carried(tmp_path) == Carried()


@pytest.mark.parametrize("nfc", [True, False])
def test_a_gguf_vocabulary_comes_back_as_it_was(tmp_path, nfc):
    before = Vocabulary(RANKS | {b"el": 264}, QWEN25, nfc=nfc)
    fields = gguf_vocabulary(before, rows=266, chat_template=None)
    write_gguf_file(tmp_path / "v.gguf", fields, {})
    after = read_vocabulary(tmp_path / "v.gguf")
    assert (after.ranks, after.controls) == (before.ranks, before.controls)
    assert (after.pattern, after.nfc) == (before.pattern, nfc)
