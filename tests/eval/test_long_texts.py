"""Where long texts come from, and the directory that keeps measures."""

import gzip
import json

import pytest
import torch

from openqwen.core.errors import UserError
from openqwen.eval.kept import Kept, keep_directory
from openqwen.eval.texts import read_long_texts


def lengths(documents):
    return [len(ids) for ids in documents]


@pytest.fixture
def rows(tmp_path):
    """A gzipped JSONL file of texts of 10, 400, 20 and 500 letters."""
    path = tmp_path / "books.jsonl.gz"
    texts = [{"id": str(n), "text": "a" * n} for n in (10, 400, 20, 500)]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, texts)).encode()))
    return path


def test_rows_and_plain_files_give_texts_until_enough_are_long_enough(
    rows, byte_tokenizer, tmp_path
):
    plain = tmp_path / "notes"
    plain.write_text("b" * 450)
    packed = tmp_path / "notes.txt.gz"
    packed.write_bytes(gzip.compress(b"c" * 460))

    def read(*paths, count):
        return lengths(read_long_texts(paths, byte_tokenizer, num_tokens=300, count=count))

    assert read(rows, count=1) == [400]
    assert read(rows, plain, count=8) == [400, 500, 450]
    assert read(packed, rows, count=2) == [460, 400]
    ids = read_long_texts([plain], byte_tokenizer, num_tokens=300, count=1)[0]
    assert ids.dtype == torch.int64
    assert byte_tokenizer.decode(ids.tolist()) == "b" * 450


def test_where_none_is_long_enough_all_are_given(rows, byte_tokenizer):
    found = read_long_texts([rows], byte_tokenizer, num_tokens=1000, count=2)
    assert sorted(lengths(found)) == [10, 20, 400, 500]


def test_rows_that_are_no_text_are_counted_aloud(byte_tokenizer, tmp_path, capsys):
    path = tmp_path / "mixed.jsonl"
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "o"}]}
    path.write_text("\n".join([json.dumps(chat), "broken", json.dumps({"text": "x" * 40})]))
    assert lengths(read_long_texts([path], byte_tokenizer, num_tokens=30, count=9)) == [40]
    assert "set aside 1: not JSON 1, 1 rows are no plain text" in capsys.readouterr().err


def test_what_cannot_be_read_is_one_line(byte_tokenizer, tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"text" * 99)[:-9])
    (tmp_path / "empty.jsonl").write_text("")
    for name, message in (
        ("nowhere", "nowhere: no such file"),
        ("binary", "binary: 'utf-8' codec"),
        ("cut.txt.gz", "cut.txt.gz: Compressed file ended"),
        ("empty.jsonl", "no text is there"),
    ):
        with pytest.raises(UserError, match=message):
            read_long_texts([tmp_path / name], byte_tokenizer, num_tokens=3, count=1)


def test_a_directory_keeps_the_measures_of_one_set_of_settings(tmp_path):
    text = tmp_path / "text"
    text.write_text("one")
    out, settings = tmp_path / "out", {"seed": 1, "lengths": [16, 32]}
    path = keep_directory(out, settings, {"text": text})
    assert Kept(path).get("a", lambda: [1.5]) == [1.5]
    again = Kept(keep_directory(out, settings, {"text": text}))
    assert again.get("a", lambda: pytest.fail("it is kept")) == [1.5]
    with pytest.raises(UserError, match="holds measures of another seed; give another directory"):
        keep_directory(out, settings | {"seed": 2}, {"text": text})
    text.write_text("other")
    with pytest.raises(UserError, match="measures of another text"):
        keep_directory(out, settings, {"text": text})
