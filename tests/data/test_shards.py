import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from openqwen.core.documents import Document, write_documents
from openqwen.core.errors import UserError
from openqwen.data.training.config import ShardsConfig
from openqwen.data.training.loader import TokenWindows
from openqwen.data.training.shards import build_shards, read_context_length, read_shard
from openqwen.tokenizer.chatml import render
from openqwen.tokenizer.control import control_tokens
from openqwen.tokenizer.tokenizer import Tokenizer

CHAT = [{"role": "user", "content": "问 <|im_end|>"}, {"role": "assistant", "content": "答"}]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A vocabulary of plain bytes, saved."""
    tokenizer = Tokenizer({bytes([b]): b for b in range(256)}, controls=control_tokens(256))
    tokenizer.save(tmp_path_factory.mktemp("tokenizer"))
    return tokenizer


def document(name, text, **fields):
    fields = {"language": "en", "media": "text/plain"} | fields
    return Document(name, "s", "u", "l", text=text, **fields)


DOCUMENTS = [
    document("a", "first text <|endoftext|>", epochs=3),
    document("b", "数据", language="zh"),
    document("c", "x = 1\n", media="text/x-python", language=""),
    document("d", "问答", messages=CHAT, epochs=2),
    document("e", "held out", split="validation", epochs=5),
]


def build(tmp_path, tokenizer, seed=0, context_length=8, documents=DOCUMENTS):
    for name in ("documents", "tokenizer", "out"):
        (tmp_path / name).mkdir(parents=True)
    write_documents(tmp_path / "documents" / "documents" / "00000.parquet", documents)
    tokenizer.save(tmp_path / "tokenizer")
    config = ShardsConfig(context_length=context_length)
    counts = build_shards(
        config, tmp_path / "documents", tmp_path / "tokenizer", tmp_path / "out", seed=seed
    )
    return tmp_path / "out", counts


def test_every_copy_of_every_document_stands_in_the_shard_with_its_end(tmp_path, tokenizer):
    out, counts = build(tmp_path, tokenizer)
    train = read_shard(out, "train")
    assert sorted(span.id for span in train.spans) == ["a", "a", "a", "b", "c", "d", "d"]
    assert sum(span.tokens for span in train.spans) == len(train.tokens_N)
    for span in train.spans:
        ids = train.document(span).tolist()
        assert ids[-1] == tokenizer.eos_id
        source = next(d for d in DOCUMENTS if d.id == span.id)
        if source.messages:
            assert ids[:-1] == render(CHAT, tokenizer).ids
        else:
            assert tokenizer.decode(ids[:-1]) == source.text
            assert max(ids[:-1]) < 256  # text that looks like a control token stays text
            assert span.bytes == len(source.text.encode())
    assert counts["train"]["tokens_by_group"].keys() == {"en", "zh", "code", "instructions"}


def test_held_out_documents_are_in_the_other_split_once(tmp_path, tokenizer):
    out, counts = build(tmp_path, tokenizer)
    assert [span.id for span in read_shard(out, "validation").spans] == ["e"]
    assert counts["validation"]["tokens"] == len("held out") + 1
    assert read_context_length(out) == 8
    lengths = np.load(out / "token_bytes.npy")
    assert lengths.tolist() == [1] * 256 + [0] * 208


def test_the_seed_decides_the_order_and_nothing_else_does(tmp_path, tokenizer):
    orders = []
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        out, _ = build(tmp_path / name, tokenizer, seed=seed)
        orders.append((out / "train.npy").read_bytes())
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


def test_a_corpus_below_one_sequence_is_refused(tmp_path, tokenizer):
    with pytest.raises(UserError, match=r"less than one sequence of shards\.context_length = 4096"):
        build(tmp_path, tokenizer, context_length=4096)


def test_a_broken_shard_is_one_line(tmp_path):
    (tmp_path / "train.npy").write_bytes(b"\x93NUMPY torn")
    with pytest.raises(UserError, match="holds no readable train shard"):
        read_shard(tmp_path, "train")
    (tmp_path / "shards.json").write_text(json.dumps({"context_length": 4}))
    assert read_context_length(tmp_path) == 4


@given(
    length=st.integers(10, 400),
    context=st.integers(2, 9),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    seed=st.integers(0, 3),
)
def test_windows_predict_each_token_once_an_epoch_whatever_the_batches(
    length, context, sizes, seed
):
    tokens = np.arange(length, dtype=np.uint16)
    windows = TokenWindows(tokens, context_length=context, seed=seed)
    inputs, targets = windows.batch(0, windows.num_windows)
    assert torch.equal(targets, inputs + 1)
    assert sorted(targets.flatten().tolist()) == list(range(1, windows.num_windows * context + 1))
    first = 0
    for size in sizes:  # a resumed run asks for any place and gets the same
        whole = TokenWindows(tokens, context_length=context, seed=seed).batch(0, first + size)
        part = windows.batch(first, size)
        assert torch.equal(whole[0][first:], part[0])
        first += size


def test_a_second_epoch_has_another_order():
    windows = TokenWindows(np.arange(1001, dtype=np.uint16), context_length=10, seed=0)
    first, second = windows.batch(0, 100)[0], windows.batch(100, 100)[0]
    assert not torch.equal(first, second)
    assert sorted(first[:, 0].tolist()) == sorted(second[:, 0].tolist())
