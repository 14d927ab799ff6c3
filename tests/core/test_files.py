import os

import pytest

from openqwen.core.documents import (
    Document,
    Page,
    read_documents,
    read_pages,
    write_documents,
    write_pages,
)
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json, write_json, write_text
from openqwen.core.manifest import Manifest, describe_outputs


def fail_while_writing(target, text):
    def write():
        with atomic_path(target) as path:
            path.write_text(text)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()


def test_a_file_appears_only_when_the_block_succeeds(tmp_path):
    target = tmp_path / "deep" / "file.txt"
    fail_while_writing(target, "half")
    assert not target.exists()
    assert list(target.parent.iterdir()) == []
    write_text(target, "whole\n")
    assert target.read_bytes() == b"whole\n"


def test_a_failed_rewrite_leaves_the_old_file(tmp_path):
    target = tmp_path / "file.txt"
    write_text(target, "old")
    fail_while_writing(target, "new")
    assert target.read_text() == "old"


def test_broken_json_is_one_line(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(UserError, match=r"a\.json is not valid JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"b\.json does not exist"):
        read_json(tmp_path / "b.json")


def make_manifest(directory):
    return Manifest(
        stage="sources",
        recipe="tiny",
        recipe_hash="h",
        inputs={},
        settings={"a": 1},
        outputs=describe_outputs(directory),
        counts={},
        seconds=1.0,
        peak_memory_bytes=1,
        seed=0,
        versions={},
        host={},
    )


def test_a_manifest_sees_missing_resized_and_changed_files(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_bytes(b"abcd")
    (tmp_path / "y").write_bytes(b"1")
    assert Manifest.read(tmp_path) is None
    make_manifest(tmp_path).write(tmp_path)
    manifest = Manifest.read(tmp_path)
    assert set(manifest.outputs) == {"data/x", "y"}
    assert manifest.problems(tmp_path, hashes=True) == []
    (tmp_path / "data" / "x").write_bytes(b"abce")
    assert manifest.problems(tmp_path) == []
    assert "sha256 differs" in manifest.problems(tmp_path, hashes=True)[0]
    (tmp_path / "data" / "x").write_bytes(b"abcde")
    assert "has 5 bytes, not 4" in manifest.problems(tmp_path)[0]
    (tmp_path / "y").unlink()
    assert any("is missing" in line for line in manifest.problems(tmp_path))


def test_a_foreign_manifest_is_refused_in_one_line(tmp_path):
    write_json(tmp_path / "manifest.json", {"name": "something else"})
    with pytest.raises(UserError, match="is not a manifest of openqwen"):
        Manifest.read(tmp_path)


def test_pages_and_documents_come_back_as_they_were(tmp_path):
    pages = [Page(f"s/{i}", "s", "u", "l", "text/html", os.urandom(20)) for i in range(2500)]
    assert write_pages(tmp_path / "p.parquet", iter(pages)) == 2500
    assert list(read_pages(tmp_path / "p.parquet")) == pages
    chat = [{"role": "user", "content": "问 <|im_start|>"}, {"role": "assistant", "content": "答"}]
    documents = [
        Document("a", "s", "u", "l", "text/html", "text\x00é", "en", scores={"x": 0.25}, epochs=3),
        Document("b", "s", "u", "l", "m", "问答", "zh", messages=chat, split="validation"),
    ]
    write_documents(tmp_path / "d.parquet", documents)
    assert list(read_documents(tmp_path / "d.parquet")) == documents
    assert [d.group for d in documents] == ["en", "instructions"]


def test_a_file_that_is_no_parquet_is_one_line(tmp_path):
    (tmp_path / "d.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UserError, match="can't be read as Parquet"):
        list(read_documents(tmp_path / "d.parquet"))
