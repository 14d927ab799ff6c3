import gzip
import json
import os
import pickle
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.errors import UserError
from openqwen.data.inputs import row_files, splits
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.readers import read_path
from openqwen.data.inputs.splits import Split, list_splits, read_split

LIMIT = 10_000


@pytest.fixture(autouse=True)
def _small_files_are_split(monkeypatch):
    monkeypatch.setattr(row_files, "WHOLE_BYTES", 1000)
    monkeypatch.setattr(splits, "WHOLE_BYTES", 1000)


def read_all(paths, target, limit=LIMIT):
    """Return the pages of all splits and what was set aside, and the splits."""
    found = list_splits([str(path) for path in paths], target_bytes=target)
    set_aside = SetAside()
    pages = [
        page
        for split in found
        for page in read_split(split, Origin(split.source, "MIT", limit, set_aside))
    ]
    return pages, set_aside, found


def rows(path, texts):
    path.write_bytes(b"".join(json.dumps({"text": text}).encode() + b"\n" for text in texts))
    return path


def test_small_files_share_a_split_up_to_the_target(tmp_path):
    for number in range(10):
        (tmp_path / f"{number}.txt").write_text("x" * 5000)
    pages, _, found = read_all([tmp_path], 20_000)
    assert [len(split.parts) for split in found] == [4, 4, 2]
    assert [page.id for page in pages] == [f"{tmp_path.name}/{n}.txt" for n in range(10)]


def test_files_without_bytes_fill_a_split_too(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").touch()
    assert len(list_splits([str(tmp_path)], target_bytes=10 * splits.FILE_COST_BYTES)) == 3


def test_a_big_file_of_lines_is_cut_into_ranges_and_its_rows_are_named_by_byte(tmp_path):
    texts = [f"row {n} " + "y" * (n % 70) for n in range(100)]
    path = rows(tmp_path / "a.jsonl", texts)
    pages, _, found = read_all([path], 700)
    assert len(found) == -(-path.stat().st_size // 700)
    assert [page.content.decode() for page in pages] == texts
    assert [page.id for page in pages][:2] == ["a/a.jsonl@0", "a/a.jsonl@19"]
    assert pages == read_all([path], 10**6)[0]


def test_a_small_file_of_lines_names_its_rows_by_number(tmp_path):
    path = rows(tmp_path / "a.jsonl", ["one", "two"])
    assert [page.id for page in read_all([path], 10)[0]] == ["a/a.jsonl#0", "a/a.jsonl#1"]


def test_packed_lines_stay_whole(tmp_path):
    rows(tmp_path / "a.jsonl", ["z" * 50] * 100)
    data = (tmp_path / "a.jsonl").read_bytes()
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(data, 0))
    pages, _, found = read_all([tmp_path / "b.jsonl.gz"], 100)
    assert len(found) == 1
    assert pages[99].id == "b/b.jsonl.gz#99"


def test_parquet_is_cut_by_row_groups_and_its_rows_keep_their_numbers(tmp_path):
    path = tmp_path / "a.parquet"
    table = pa.table({"text": [f"row {n}" for n in range(50)]})
    pq.write_table(table, path, row_group_size=7)
    pages, _, found = read_all([path], 300)
    assert len(found) > 2
    assert [page.id for page in pages] == [f"a/a.parquet#{n}" for n in range(50)]
    assert [page.content for page in pages] == [b"row %d" % n for n in range(50)]
    assert len(read_all([path], 1)[2]) == 8


def test_a_line_longer_than_a_range_and_than_the_limit_is_set_aside_once(tmp_path):
    path = rows(tmp_path / "a.jsonl", ["first", "x" * 5000, "last"])
    for target in (100, 1000, 10**6):
        pages, set_aside, _ = read_all([path], target, limit=1000)
        assert [page.content for page in pages] == [b"first", b"last"]
        assert set_aside.examples == {"larger than max_page_bytes": ["a.jsonl@18"]}


@settings(deadline=None)
@given(
    lines=st.lists(st.binary(max_size=60).map(lambda b: b.replace(b"\n", b"")), max_size=60),
    ended=st.booleans(),
    target=st.integers(1, 2000),
)
def test_no_cut_loses_or_repeats_a_line(tmp_path_factory, lines, ended, target):
    path = tmp_path_factory.mktemp("cut") / "a.jsonl"
    good = [json.dumps({"text": f"{n}"}).encode() for n in range(40)]
    mixed = [line for pair in zip(good, (lines + [b""] * 40)[:40], strict=True) for line in pair]
    path.write_bytes(b"\n".join(mixed) + b"\n" * ended + b" " * 1001)
    whole, aside_whole, _ = read_all([path], 10**9)
    parts, aside_parts, _ = read_all([path], target)
    assert parts == whole
    assert [page.content for page in whole if page.content.isdigit()][:1] == [b"0"]
    assert aside_parts.counts == aside_whole.counts


def test_splits_give_what_the_whole_folder_gives(tmp_path):
    (tmp_path / "b").mkdir()
    rows(tmp_path / "b" / "rows.jsonl", ["r" * 40] * 60)
    (tmp_path / "b-a.html").write_text("<p>x</p>")
    (tmp_path / "a.zip").touch()
    config, aside = SourcesConfig(max_page_bytes=LIMIT), SetAside()
    whole = read_path(tmp_path, source=tmp_path.name, licence="MIT", config=config, set_aside=aside)
    pages, set_aside, _ = read_all([tmp_path], 100)
    assert pages == list(whole)
    assert set_aside.counts == aside.counts == {"not a known kind of file": 1}


def test_each_path_is_a_source_of_its_own_name(tmp_path):
    for name in ("x/rows.jsonl", "y/rows.jsonl.gz", "y/rows/a.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    paths = [tmp_path / "x" / "rows.jsonl", tmp_path / "y" / "rows.jsonl.gz", tmp_path / "y/rows"]
    assert [s.source for s in read_all(paths, 10)[2]] == ["rows", "rows-2", "rows-3"]


def test_what_a_folder_holds_besides_files_is_counted(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "circle.txt").symlink_to("circle.txt")
    (tmp_path / "nowhere.txt").symlink_to("missing.txt")
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "good.txt").write_text("good")
    pages, set_aside, _ = read_all([tmp_path], 10**6)
    assert [page.content for page in pages] == [b"good"]
    assert set_aside.counts == {
        "can't be opened": 2,
        "not a regular file": 1,
        "link to a folder, not followed": 1,
    }
    assert set_aside.examples["can't be opened"][0] == (
        "circle.txt: Too many levels of symbolic links"
    )


def test_a_pipe_given_by_name_does_not_stop_the_run(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert read_all([tmp_path / "pipe.jsonl"], 10)[1].counts == {"not a regular file": 1}
    config, aside = SourcesConfig(), SetAside()
    pages = read_path(
        tmp_path / "pipe.jsonl", source="s", licence="", config=config, set_aside=aside
    )
    assert (list(pages), aside.counts) == ([], {"not a regular file": 1})


def test_a_missing_path_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none does not exist; give a file, a folder or a URI$"):
        list_splits([str(tmp_path / "none")], target_bytes=10)


def test_a_split_crosses_processes_and_files_even_with_odd_names(tmp_path):
    (tmp_path / "\udcff.txt").write_text("odd")
    (tmp_path / "文.txt").write_text("even")
    (split,) = list_splits([str(tmp_path)], target_bytes=10**6)
    again = Split.from_json(json.loads(json.dumps(split.as_json(), ensure_ascii=False).encode()))
    assert again == split == pickle.loads(pickle.dumps(split))
    pages = list(read_split(again, Origin("s", "", LIMIT, SetAside())))
    assert sorted(page.content for page in pages) == [b"even", b"odd"]


def test_a_uri_gives_the_pages_of_the_folder_behind_it(tmp_path):
    folder = tmp_path / "pages"
    folder.mkdir()
    rows(folder / "a b.jsonl", ["r" * 40] * 60)
    pq.write_table(pa.table({"text": ["p"] * 20}), folder / "c.parquet", row_group_size=5)
    (folder / "d.txt.gz").write_bytes(gzip.compress(b"packed"))
    for target in (200, 10**6):
        local = read_all([folder], target)
        remote = read_all([folder.as_uri()], target)
        assert remote[0] == local[0]
        assert len(remote[2]) == len(local[2])
    assert len(local[0]) == 81


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("ftp://host/x", "known are s3://"),
        ("file:///no/such/place", "does not exist"),
    ],
)
def test_a_uri_that_leads_nowhere_is_one_line(uri, message):
    with pytest.raises(UserError, match=message) as found:
        list_splits([uri], target_bytes=10)
    assert "\n" not in str(found.value)


def test_the_class_of_paths_does_not_matter_for_a_file_that_vanishes(tmp_path):
    path = rows(tmp_path / "a.jsonl", ["x" * 100] * 20)
    found = list_splits([str(path)], target_bytes=500)
    Path(path).unlink()
    set_aside = SetAside()
    for split in found:
        assert list(read_split(split, Origin("s", "", LIMIT, set_aside))) == []
    assert set_aside.counts == {"can't be opened": len(found)}
