"""`openqwen data dedup` as its user meets it."""

import contextlib
import datetime
import gzip
import json
import random
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH

from openqwen.cli.main import main
from openqwen.core.files import read_json
from openqwen.data.dedup import files as files_module
from openqwen.data.dedup.columns import as_schema, kinds_of, merged_schema
from openqwen.data.dedup.row_tables import FIELDS, read_tables
from openqwen.data.engines import engine
from openqwen.data.engines.engine import perform
from openqwen.data.inputs.origin import SetAside
from openqwen.data.inputs.stores import InputFile, Store

TWIN = GOOD_ENGLISH + " And that was all."


def write_jsonl(path, rows):
    data = "".join(
        row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) + "\n" for row in rows
    )
    raw = data.encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def dedup(*arguments):
    return main(["data", "dedup", *map(str, arguments)])


def rows_of(folder):
    return pq.read_table(folder).to_pylist()


def bytes_of(out):
    found = {p.relative_to(out): p.read_bytes() for p in out.rglob("*.parquet")}
    assert found
    return found


@pytest.fixture
def here(monkeypatch):
    """Run tasks in this process: starting workers takes longer than these few rows."""

    class Here:
        num_workers = 1

        def run(self, tasks):
            for task, folder in tasks:
                perform(task, folder)
                yield task.name

    monkeypatch.setattr(engine, "open_engine", lambda config: contextlib.nullcontext(Here()))


in_this_process = pytest.mark.usefixtures("here")


@pytest.fixture
def corpus(tmp_path):
    """Return a folder of three files with twins across them, and rows that are none."""
    folder = tmp_path / "in"
    folder.mkdir()
    write_jsonl(
        folder / "a.jsonl",
        [
            {"id": "a1", "text": GOOD_ENGLISH, "year": 1999, "tags": ["x"]},
            {"id": "a2", "text": GOOD_CHINESE, "url": "http://e.org/a", "year": None},
            "this is no JSON\n",
            {"id": "a3"},
            {"text": "no id here"},
            {"id": "a4", "text": 5},
            '{"id": "a5", "text": "\\ud800"}\n',
            '{"id": "a6", "text": "\udcff"}\n',
            "[1]\n\n",
            {"id": 7, "text": "...", "year": 2001},
        ],
    )
    write_jsonl(
        folder / "b.jsonl.gz",
        [
            {"id": "b1", "text": TWIN, "year": 2.5},
            {"id": "b2", "text": GOOD_CHINESE.replace("，", ","), "tags": "y"},
            {"id": "b3", "text": "An older page.", "url": "https://e.org/a/"},
        ],
    )
    table = pa.table(
        {
            "id": ["c1", None, "c3"],
            "text": ["A text of its own.", "x", None],
            "day": [datetime.date(2026, 11, 26)] * 3,
        }
    )
    pq.write_table(table, folder / "c.parquet")
    (folder / "readme.md").write_text("not a corpus")
    return folder


def test_files_of_every_kind_lose_their_duplicates_and_nothing_else(corpus, tmp_path, capsys):
    out = tmp_path / "out"
    assert dedup("--in", corpus, "--out", out, "--workers", 2) == 0
    kept = {row["id"]: row for row in rows_of(out / "kept")}
    assert sorted(kept) == ["a2", "b1", "c1"]
    assert kept["b1"]["text"] == TWIN
    assert kept["b1"]["reason"] == ""
    assert kept["b1"]["cluster"] == "b1"
    assert kept["b1"]["year"] == 2.5
    assert kept["c1"]["day"] == datetime.date(2026, 11, 26)
    assert kept["a2"]["url"] == "http://e.org/a"
    dropped = {row.pop("id"): row for row in rows_of(out / "dropped")}
    assert {id: (r["reason"], r["survivor"], r["cluster"]) for id, r in dropped.items()} == {
        "a1": ("near duplicate", "b1", "b1"),
        "b2": ("same text", "a2", "a2"),
        "b3": ("same url", "a2", "a2"),
        "7": ("no words", "", ""),
    }
    assert 0.9 < dropped["a1"]["score"] < 1
    said = capsys.readouterr()
    assert "7 documents → 3" in said.out
    assert "dropped 4: no words 1, same url 1, same text 1, near duplicate 1" in said.out
    assert "kernels" in said.out or "numpy:" in said.out
    for line in (
        "set aside 1: not JSON (a.jsonl@",
        "set aside 1: row is no object (a.jsonl@",
        "set aside 2: no text (a.jsonl@",
        "set aside 2: no id (a.jsonl@",
        "set aside 1: text is no string (a.jsonl@",
        "set aside 1: half a surrogate pair (a.jsonl@",
        "set aside 1: not UTF-8 (a.jsonl@",
    ):
        assert line in said.err, line
    manifest = read_json(out / "manifest.json")
    assert manifest["counts"]["kept"] == 3
    assert sum(row["count"] for row in manifest["counts"]["set_aside"].values()) == 9
    assert set(manifest["outputs"]) == {"kept/00000.parquet", "dropped/00000.parquet"}
    assert sorted(p.name for p in out.iterdir()) == ["dropped", "kept", "manifest.json"]


def many_rows(count):
    generator = random.Random(0)
    words = [f"w{i}" for i in range(2000)]
    for number in range(count):
        text = generator.choices(words, k=60)
        yield {"id": f"r{number:05}", "text": " ".join(text), "n": number}
        if number % 4 == 0:
            text[3] = "changed"
            yield {"id": f"r{number:05}t", "text": " ".join(text), "n": number}


def test_splits_and_workers_do_not_change_what_stays(tmp_path):
    rows = list(many_rows(120))
    one = write_jsonl(tmp_path / "all.jsonl", rows)
    halves = tmp_path / "halves"
    halves.mkdir()
    write_jsonl(halves / "2.jsonl", rows[:90])
    pq.write_table(pa.Table.from_pylist(rows[90:]), halves / "1.parquet", row_group_size=50)
    assert dedup("--in", one, "--out", tmp_path / "a", "--workers", 1) == 0
    small = "documents.partition_bytes=8192"
    assert dedup("--in", one, "--out", tmp_path / "b", "--workers", 2) == 0
    assert dedup("--in", halves, "--out", tmp_path / "c", "--set", small) == 0
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    assert len(list((tmp_path / "c" / "kept").iterdir())) > 1
    first, split = rows_of(tmp_path / "a" / "kept"), rows_of(tmp_path / "c" / "kept")
    assert len(first) == 120
    assert sorted(first, key=str) == sorted(split, key=str)


def test_a_large_file_read_in_ranges_gives_each_row_once(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [*many_rows(50), "broken\n", '{"id": "last", "text": "no line end"}'])
    size = path.stat().st_size
    aside = SetAside(), SetAside()
    whole = [t.to_pylist() for t in read(path, 0, None, aside[0])]
    edges = sorted({0, size, *range(0, size, 97)})
    pieces = [
        row
        for start, end in pairwise(edges)
        for table in read(path, start, end, aside[1])
        for row in table.to_pylist()
    ]
    assert pieces == [row for rows in whole for row in rows]
    assert pieces[-1]["id"] == "last"
    assert len(pieces) == 64
    assert aside[0].counts == {"not JSON": 1}
    assert aside[1].as_json() == aside[0].as_json()


def read(path, start, end, set_aside):
    return read_tables(InputFile(Store(), str(path)), path.name, start, end, set_aside)


@in_this_process
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(tmp_path, monkeypatch):
    one = write_jsonl(tmp_path / "all.jsonl", many_rows(100))
    assert dedup("--in", one, "--out", tmp_path / "whole") == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(files_module, "_write", stop)
        assert dedup("--in", one, "--out", tmp_path / "out") == 130
    done = sorted((tmp_path / "out" / "scratch").rglob("read/00000/done.json"))
    began = [path.stat().st_mtime_ns for path in done]
    assert len(done) == 1
    ended = []
    with monkeypatch.context() as patch:
        patch.setattr(
            files_module.shutil,
            "rmtree",
            lambda path, **_: ended.append(done[0].stat().st_mtime_ns),
        )
        assert dedup("--in", one, "--out", tmp_path / "out") == 0
    assert ended[-1:] == began
    for name in ("kept", "dropped"):
        assert bytes_of(tmp_path / "out" / name) == bytes_of(tmp_path / "whole" / name)


@in_this_process
def test_an_index_remembers_what_stayed(tmp_path, capsys):
    index = tmp_path / "seen"
    first = write_jsonl(tmp_path / "1.jsonl", [{"id": "z", "text": GOOD_ENGLISH}])
    news = [{"id": "a", "text": TWIN}, {"id": "b", "text": "A text of its own."}]
    second = write_jsonl(tmp_path / "2.jsonl", news)
    assert dedup("--in", first, "--out", tmp_path / "o1", "--index", index) == 0
    assert f"{index}: 1 documents added" in capsys.readouterr().out
    for _ in range(2):  # the second time it meets itself in the index
        assert dedup("--in", second, "--out", tmp_path / "o2", "--index", index) == 0
        assert [row["id"] for row in rows_of(tmp_path / "o2" / "kept")] == ["b"]
        dropped = rows_of(tmp_path / "o2" / "dropped")
        assert [(r["id"], r["survivor"]) for r in dropped] == [("a", "z")]
    assert len(list(index.iterdir())) == 2


@in_this_process
def test_the_threshold_decides(tmp_path):
    words = [f"w{i}" for i in range(100)]
    one, other = " ".join(words), " ".join([*words[:90], *(["new"] * 10)])  # Jaccard 86 / 102
    path = write_jsonl(tmp_path / "x.jsonl", [{"id": "1", "text": one}, {"id": "2", "text": other}])
    for threshold, count in ((0.8, 1), (0.9, 2)):
        out = tmp_path / f"{threshold}"
        assert dedup("--in", path, "--out", out, "--threshold", threshold) == 0
        assert len(rows_of(out / "kept")) == count


@in_this_process
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--in", "{}/none.jsonl"], "{}/none.jsonl does not exist"),
        (["--in", "{}/x.csv"], "{}/x.csv is none of .jsonl, .jsonl.gz, .parquet"),
        (["--in", "{}/empty"], "{}/empty: no .jsonl, .jsonl.gz or .parquet file"),
        (["--in", "{}/bad.jsonl"], "no row has an id and a text: not JSON 1"),
        (["--in", "{}/ok.jsonl", "--threshold", "1.5"], "documents.minhash.threshold = 1.5"),
        (
            ["--in", "{}/ok.jsonl", "--set", "base.num_steps=3"],
            "--set base.num_steps=3: data dedup",
        ),
        (["--in", "{}/ok.jsonl", "--index", "{}/x.csv"], "--index {}/x.csv is a file"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, capsys, arguments, line):
    (tmp_path / "x.csv").write_text("id,text")
    (tmp_path / "bad.jsonl").write_text("nothing\n")
    write_jsonl(tmp_path / "ok.jsonl", [{"id": "1", "text": "fine"}])
    (tmp_path / "empty").mkdir()
    given = [text.format(tmp_path) for text in arguments]
    assert dedup(*given, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.startswith("openqwen: ")
    assert line.format(tmp_path) in said
    assert said.count("\n") == 1


def test_a_folder_of_somebody_elses_files_is_not_written_into(tmp_path, capsys):
    path = write_jsonl(tmp_path / "ok.jsonl", [{"id": "1", "text": "fine"}])
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.png").write_text("")
    assert dedup("--in", path, "--out", tmp_path / "photos") == 2
    assert "holds other files" in capsys.readouterr().err


@in_this_process
def test_damaged_files_cost_what_is_damaged(tmp_path, capsys):
    good = [{"id": f"g{n}", "text": f"{'word ' * 9}{n}"} for n in range(2000)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in good).encode())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing more")
    pq.write_table(pa.table({"id": ["1"], "body": ["x"]}), tmp_path / "other.parquet")
    assert dedup("--in", tmp_path, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert "truncated or corrupt gzip (cut.jsonl.gz" in said
    assert "can't be read (bad.parquet" in said
    assert "no column text (other.parquet" in said
    assert 100 < len(rows_of(tmp_path / "out" / "kept")) < 2000


def test_text_that_is_not_utf8_in_parquet_costs_its_row(tmp_path):
    raw = pa.array([b"good", b"\xff\xfe", None], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    pq.write_table(pa.table({"id": ["1", "2", "3"], "text": text}), tmp_path / "x.parquet")
    set_aside = SetAside()
    file = InputFile(Store(), str(tmp_path / "x.parquet"))
    tables = list(read_tables(file, "x", 0, None, set_aside))
    assert [t.to_pylist() for t in tables] == [[{"id": "1", "text": "good"}]]
    assert set_aside.counts == {"not UTF-8": 1, "no text": 1}


def test_columns_that_files_disagree_on_become_json_text():
    fields = [{"a": 1, "b": [1], "c": 2**70, "d": None}, {"a": 1.5, "b": "x", "c": 1, "e": True}]
    rows = [json.dumps(row) for row in fields]
    table = pa.table({"id": ["1", "2"], "text": ["x", "y"], FIELDS: rows})
    kinds = {}
    kinds_of(table, kinds)
    other = pa.schema([("id", pa.string()), ("text", pa.string()), ("e", pa.int8())])
    schema = merged_schema([table.schema, other], kinds)
    assert schema.names == ["id", "text", "a", "b", "c", "d", "e", "reason", "cluster"]
    found = as_schema(table, schema).to_pylist()
    assert [(r["a"], r["b"], r["c"], r["d"], r["e"]) for r in found] == [
        (1.0, "[1]", str(2**70), None, None),
        (1.5, "x", "1", None, "true"),
    ]
    numbers = pa.table({"id": ["3"], "text": ["z"], "e": pa.array([4], pa.int8())})
    assert as_schema(numbers, schema).to_pylist()[0]["e"] == "4"
