"""Texts by language for the tokenizer's verbs: package texts, files, samples, catalogues."""

import gettext
import json
import struct
from pathlib import Path

import pytest

from openqwen.core.documents import Document, write_documents
from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.texts.language_texts import is_held_out, package_texts, text_sources
from openqwen.data.texts.message_catalogue import translations
from openqwen.data.texts.text_files import read_texts
from openqwen.data.texts.texts_by_language import sample_by_language, write_by_language


def catalogue(messages: dict[str, str], order: str = "<") -> bytes:
    """Return a .mo file."""
    pairs = [(a.encode(), b.encode()) for a, b in sorted(messages.items())]
    start = 28 + 16 * len(pairs)
    tables, data = [b"", b""], b""
    for side in (0, 1):
        for pair in pairs:
            tables[side] += struct.pack(order + "2I", len(pair[side]), start + len(data))
            data += pair[side] + b"\0"
    head = struct.pack(order + "7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0)
    return head + tables[0] + tables[1] + data


def document(name: str, text: str, **facts) -> Document:
    given = {"source": "s", "url": "", "licence": "", "media": "text/plain", "language": "zh"}
    return Document(id=name, text=text, **(given | facts))


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_catalogue_gives_its_translations_and_no_original(order, tmp_path):
    messages = {
        "": "Content-Type: text/plain; charset=UTF-8\n",
        "Open": "เปิด",
        "Same": "Same",
        "menu\x04File": "แฟ้ม",
        "%d day\x00%d days": "%d วัน\x00%d วัน ทั้งหมด",
        "Empty": "",
    }
    content = catalogue(messages, order)
    assert sorted(translations(content)) == sorted(["เปิด", "แฟ้ม", "%d วัน ทั้งหมด"])
    (tmp_path / "x.mo").write_bytes(content)
    with (tmp_path / "x.mo").open("rb") as file:
        assert gettext.GNUTranslations(file).gettext("Open") == "เปิด"


def test_a_broken_catalogue_is_refused():
    content = catalogue({"a": "b", "c": "d"})
    with pytest.raises(ValueError, match="first bytes"):
        list(translations(b"PK" + content))
    with pytest.raises(ValueError, match="cut short"):
        list(translations(content[:-3]))


def test_held_out_and_training_texts_share_no_document_and_are_all(local_debian):
    office = "usr/lib/libreoffice/program/resource/th/LC_MESSAGES"
    files = {}
    for i in range(6):
        messages = {f"message {i} {j}": f"ข้อความ {i} {j} ภาษาไทย" for j in range(150)}
        files[f"{office}/m{i}.mo"] = catalogue(messages)
    add_binary(local_debian, "libreoffice-l10n-th", files)
    add_binary(local_debian, "evolution-common", {"usr/share/x": b"x"})
    blog = {"usr/share/wordpress/wp-content/languages/th.mo": catalogue({"Blog": "บล็อก"})}
    add_binary(local_debian, "wordpress-l10n", blog)
    train, held_out = (list(package_texts(["th"], held_out=flag)) for flag in (False, True))
    assert {d.group for d in (*train, *held_out)} == {"th"}
    assert not {d.id for d in train} & {d.id for d in held_out}
    assert sum(len(d.text.splitlines()) for d in (*train, *held_out)) == 6 * 150 + 1
    assert "บล็อก" in [d.text for d in held_out]  # a source that is held out whole
    assert not any(is_held_out(d.id) for d in train)


def add_binary(repository, name: str, files: dict[str, bytes]) -> None:
    """Add a package whose files are bytes."""
    root = repository.folder / "build"
    for member, content in files.items():
        (root / member).parent.mkdir(parents=True, exist_ok=True)
        (root / member).write_bytes(content)
    repository.add(name, "1", {})


def test_a_language_without_packages_names_those_with():
    with pytest.raises(UserError, match="no package is known with text in 'xx'; zh, ja"):
        text_sources("xx")


def test_code_is_the_standard_library_without_its_tests():
    documents = list(package_texts(["code"], held_out=True))
    assert len(documents) > 20
    assert {d.group for d in documents} == {"code"}
    assert not any("/test/" in d.id for d in documents)


def test_files_say_their_language_by_name_and_a_stage_by_column(tmp_path):
    rows = [{"text": "天地玄黄"}, {"text": "宇宙"}, {"nothing": 1}]
    (tmp_path / "zh_small.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "th").mkdir()
    (tmp_path / "th" / "1.txt").write_text("สวัสดี")
    (tmp_path / "code.jsonl").write_text(json.dumps({"text": "x = 1"}))
    (tmp_path / "notes.txt").write_text("whatever")
    stage = [
        document("a", "Guten Tag", language="de"),
        document("b", "Held out", language="de", split="validation"),
    ]
    write_documents(tmp_path / "documents.parquet", stage)
    aside = SetAside()
    found = [(d.group, d.text) for d in read_texts([tmp_path], split="train", set_aside=aside)]
    assert sorted(found) == sorted(
        [
            *[("zh", "天地玄黄"), ("zh", "宇宙"), ("th", "สวัสดี"), ("code", "x = 1")],
            *[("und", "whatever"), ("de", "Guten Tag")],
        ]
    )
    assert sum(aside.counts.values()) == 1
    [held_out] = read_texts([tmp_path / "documents.parquet"], split="validation")
    assert held_out.text == "Held out"
    write_documents(tmp_path / "corpus" / "documents" / "documents" / "0.parquet", stage)
    (tmp_path / "corpus" / "documents" / "funnel.json").write_text("[]")
    for folder in ("corpus", "corpus/documents"):
        [document_of_stage] = read_texts([tmp_path / folder], split="train", set_aside=aside)
        assert document_of_stage.text == "Guten Tag"
    assert sum(aside.counts.values()) == 1
    with pytest.raises(UserError, match="nowhere does not exist"):
        list(read_texts([Path("nowhere")], split="train"))


def test_a_sample_is_whole_documents_whatever_their_order():
    documents = [document(f"d{i}", f"{i:03} " * 25) for i in range(300)]
    one = sample_by_language(documents, max_characters=1_000)
    assert one == sample_by_language(documents[::-1], max_characters=1_000)
    assert len(one["zh"]) == 10
    assert all(len(text) == 100 for text in one["zh"])
    long = sample_by_language([document("x", "y" * 5_000)], max_characters=1_000)
    assert long == {"zh": ["y" * 5_000]}


def test_texts_written_by_language_are_read_again(tmp_path):
    documents = [document("a", "天地"), document("b", "x", media="text/x-python")]
    counts = write_by_language(tmp_path, documents)
    assert counts == {
        "zh": {"documents": 1, "characters": 2},
        "code": {"documents": 1, "characters": 1},
    }
    found = {(d.group, d.text) for d in read_texts([tmp_path], split="train")}
    assert found == {("zh", "天地"), ("code", "x")}
