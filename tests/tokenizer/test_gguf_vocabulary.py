"""Vocabularies inside GGUF files that the published library wrote."""

import pytest
from gguf_files import write_gguf_file

from openqwen.core.errors import UserError
from openqwen.tokenizer.files import has_vocabulary
from openqwen.tokenizer.huggingface import byte_letters
from openqwen.tokenizer.tokenizer import Tokenizer

WORDS = [b"th", b"the", b" t", b" the", "世".encode()[:2], "世".encode(), b"in", b"ing"]
MERGES = ["t h", "th e", "Ġ t", "Ġ the", "ä ¸", "ä¸ ĸ", "i n", "in g"]
CONTROLS = {"<|endoftext|>": 3, "<|im_start|>": 3, "<|im_end|>": 3, "<tool_call>": 4}
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>{% endfor %}"


def spell(token):
    letters = byte_letters()
    return "".join(letters[value] for value in token)


def fields(**changes):
    """Bytes, eight words, four control tokens and two unused rows; `None` takes a key away."""
    words = [spell(bytes([i])) for i in range(256)] + [spell(word) for word in WORDS]
    kinds = [1] * len(words) + list(CONTROLS.values()) + [5, 5]
    values = {
        "model": "gpt2",
        "pre": "qwen2",
        "tokens": [*words, *CONTROLS, "[PAD268]", "[PAD269]"],
        "token_type": kinds,
        "merges": MERGES,
    } | changes
    return {f"tokenizer.ggml.{k}": v for k, v in values.items() if v is not None}


@pytest.fixture
def vocabulary_file(tmp_path):
    def make(*, template=None, architecture="qwen2", **changes):
        values = fields(**changes)
        if template is not None:
            values["tokenizer.chat_template"] = template
        return write_gguf_file(tmp_path / "v.gguf", values, {}, architecture=architecture)

    return make


@pytest.fixture
def same_by_hand():
    ranks = {bytes([i]): i for i in range(256)} | {w: 256 + i for i, w in enumerate(WORDS)}
    return Tokenizer(ranks, controls={name: 264 + i for i, name in enumerate(CONTROLS)}, nfc=True)


TEXTS = ["the thing", "世界 in 123", "<tool_call>the<|im_end|>", "e\u0301tude", " \n\n the"]


def test_a_file_gives_the_ids_of_the_same_vocabulary_by_hand(vocabulary_file, same_by_hand):
    tokenizer = Tokenizer.from_file(vocabulary_file())
    assert tokenizer.vocab_size == 268  # unused rows have no token
    assert tokenizer.control_tokens == same_by_hand.control_tokens
    for text in TEXTS:
        for allowed in ((), "all"):
            ids = same_by_hand.encode(text, allowed_special=allowed)
            assert tokenizer.encode(text, allowed_special=allowed) == ids
    assert tokenizer.decode(tokenizer.encode("e\u0301")) == "\u00e9"  # composed, as Qwen does


def test_a_file_of_before_patterns_had_names_is_read_where_the_model_is_qwen(
    vocabulary_file, same_by_hand
):
    for pre in (None, "default"):
        tokenizer = Tokenizer.from_file(vocabulary_file(pre=pre, architecture="qwen"))
        assert tokenizer.encode("the thing") == same_by_hand.encode("the thing")
    with pytest.raises(UserError, match=r"tokenizer\.ggml\.pre = None is not known"):
        Tokenizer.from_file(vocabulary_file(pre=None, architecture="llama"))


def test_llama_3_and_gpt_2_split_digits_in_their_own_way(vocabulary_file):
    words = {"tokens": [*fields()["tokenizer.ggml.tokens"][:264], "12", "123", "1234"]}
    merges = {"merges": [*MERGES, "1 2", "12 3", "123 4"], "token_type": [1] * 267}
    threes = Tokenizer.from_file(vocabulary_file(pre="llama-bpe", **words, **merges))
    assert threes.encode("1234") == [265, ord("4")]
    assert not threes.nfc
    all_together = Tokenizer.from_file(vocabulary_file(pre="gpt-2", **words, **merges))
    assert all_together.encode("1234") == [266]
    one_by_one = Tokenizer.from_file(vocabulary_file(**words, **merges))
    assert one_by_one.encode("1234") == [ord(c) for c in "1234"]


def test_a_directory_with_one_file_has_its_vocabulary(vocabulary_file, same_by_hand):
    path = vocabulary_file()
    assert has_vocabulary(path.parent)
    tokenizer = Tokenizer.from_file(path.parent)
    assert tokenizer.encode("the") == same_by_hand.encode("the")
    path.with_name("another.gguf").write_bytes(path.read_bytes())
    assert not has_vocabulary(path.parent)
    with pytest.raises(UserError, match="holds no vocabulary"):
        Tokenizer.from_file(path.parent)


def test_a_vocabulary_of_another_kind_is_said_in_one_line(vocabulary_file, capsys):
    path = vocabulary_file(model="llama")
    assert not has_vocabulary(path)
    said = capsys.readouterr().err
    assert "its vocabulary is of kind 'llama'; byte-level BPE is read, so this model" in said
    assert said.count("\n") == 1
    with pytest.raises(UserError, match="of kind 'llama'; byte-level BPE is read"):
        Tokenizer.from_file(path)


def test_a_chat_template_that_is_not_chatml_is_said_in_one_line(vocabulary_file, capsys):
    Tokenizer.from_file(vocabulary_file(template=CHATML))
    assert capsys.readouterr().err == ""
    Tokenizer.from_file(vocabulary_file(template="[INST] {{ messages[0].content }} [/INST]"))
    said = capsys.readouterr().err
    assert "its chat template is not ChatML; openqwen writes ChatML all the same" in said
    assert said.count("\n") == 1


def test_a_control_token_that_is_no_text_is_refused(vocabulary_file):
    path = vocabulary_file()
    path.write_bytes(path.read_bytes().replace(b"<tool_call>", b"<tool_cal\xff>"))
    with pytest.raises(UserError, match=r"control token 267 .* is not UTF-8"):
        Tokenizer.from_file(path)


TOKENS = fields()["tokenizer.ggml.tokens"]
MISTAKES = {
    "pattern": ({"pre": "tekken"}, "pre = 'tekken' is not known; qwen2, llama-bpe"),
    "list of patterns": ({"pre": ["qwen2"]}, "pre must be one value, not a list"),
    "list of kinds": ({"model": [1, 2]}, "model must be one value, not a list"),
    "no tokens": ({"tokens": None}, r"tokenizer\.ggml\.tokens is missing"),
    "no merges": ({"merges": None}, r"tokenizer\.ggml\.merges is missing"),
    "kinds": ({"token_type": [1, 2, 3]}, "token_type has not one kind for each token"),
    "no kinds": ({"token_type": None}, "token_type has not one kind for each token"),
    "twice": ({"tokens": [*TOKENS[:263], "the", *TOKENS[264:]]}, "tokens holds a token twice"),
    "not byte-level": ({"tokens": [*TOKENS[:263], "世", *TOKENS[264:]]}, "not byte-level"),
    "a byte missing": ({"tokens": [spell(b"aa"), *TOKENS[1:]]}, "aa"),
    "merge of nothing": ({"merges": [*MERGES, "x y"]}, "merge 'x' 'y' makes no token"),
    "order": ({"merges": MERGES[::-1]}, "comes after that of a higher id"),
    "unmade": ({"merges": MERGES[:-1]}, "no merge makes the token 'ing'"),
}


@pytest.mark.parametrize(("changes", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_vocabulary_that_does_not_fit_together_is_refused(vocabulary_file, changes, message):
    if "merges" not in changes and "tokens" in changes and changes["tokens"]:
        changes = changes | {"merges": MERGES[:-1]}
    with pytest.raises(UserError, match=message) as caught:
        Tokenizer.from_file(vocabulary_file(**changes))
    assert "\n" not in str(caught.value)
