import gzip
import io
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from openqwen.core.errors import UserError
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import MAX_EXAMPLES, SetAside
from openqwen.data.inputs.readers import read_path
from openqwen.data.inputs.warc import as_utf8


def read(path, **settings):
    """Return the pages of a path and what was set aside."""
    set_aside = SetAside()
    config = SourcesConfig(paths=(str(path),), **settings)
    pages = read_path(path, source="mine", licence="MIT", config=config, set_aside=set_aside)
    return list(pages), set_aside


def write_warc(path, *responses):
    """Write (body, content type, status, more headers) as WARC responses."""
    buffer = io.BytesIO()
    writer = WARCWriter(buffer, gzip=path.suffix == ".gz")
    for index, (body, media, status, *more) in enumerate(responses):
        headers = [("Content-Type", media)] if media else []
        http = StatusAndHeaders(status, headers + list(more), protocol="HTTP/1.1")
        record = writer.create_warc_record(
            f"http://example.org/{index}", "response", payload=io.BytesIO(body), http_headers=http
        )
        writer.write_record(record)
    path.write_bytes(buffer.getvalue())
    return path


def write_lines(path, *lines):
    rows = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    path.write_bytes(b"\n".join(rows) + b"\n")
    return path


# files and folders


def test_a_folder_is_read_in_sorted_order_by_the_kinds_of_its_files(tmp_path):
    for name in ("b.txt", "a/z.HTML", "a/y.htm", "a/x.xhtml", "c.py", "d.md", "e.txt.gz"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        data = f"<p>{name}</p>".encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    pages, set_aside = read(tmp_path)
    assert [(p.id, p.media) for p in pages] == [
        ("mine/a/x.xhtml", "text/html"),
        ("mine/a/y.htm", "text/html"),
        ("mine/a/z.HTML", "text/html"),
        ("mine/b.txt", "text/plain"),
        ("mine/c.py", "text/x-python"),
        ("mine/d.md", "text/plain"),
        ("mine/e.txt.gz", "text/plain"),
    ]
    assert pages[2].content == b"<p>a/z.HTML</p>"
    assert pages[6].content == b"<p>e.txt.gz</p>"
    assert {(p.source, p.licence, p.url) for p in pages} == {("mine", "MIT", "")}
    assert set_aside.counts == {}


def test_bytes_of_a_page_are_untouched(tmp_path):
    data = "<meta charset=gbk>中文".encode("gbk") + b"\xff\x00"
    (tmp_path / "a.html").write_bytes(data)
    assert read(tmp_path)[0][0].content == data


def test_what_is_no_page_is_counted_with_examples(tmp_path):
    (tmp_path / "empty.txt").write_bytes(b" \n")
    (tmp_path / "large.txt").write_bytes(b"x" * 101)
    (tmp_path / "just.txt").write_bytes(b"x" * 100)
    (tmp_path / "bomb.html.gz").write_bytes(gzip.compress(b"0" * 10_000_000))
    (tmp_path / "cut.html.gz").write_bytes(gzip.compress(bytes(range(99)))[:-9])
    for index in range(MAX_EXAMPLES + 5):
        (tmp_path / f"{index}.zip").touch()
    pages, set_aside = read(tmp_path, max_page_bytes=100)
    assert [p.id for p in pages] == ["mine/just.txt"]
    assert set_aside.counts == {
        "empty": 1,
        "larger than max_page_bytes": 2,
        "truncated or corrupt gzip": 1,
        "not a known kind of file": MAX_EXAMPLES + 5,
    }
    assert len(set_aside.examples["not a known kind of file"]) == MAX_EXAMPLES
    assert set_aside.summary().startswith("set aside 29: not a known kind of file 25, larger")


def test_a_file_that_can_not_be_opened_is_set_aside_and_the_rest_goes_on(tmp_path):
    (tmp_path / "a.jsonl").mkdir()  # named like a file of rows
    (tmp_path / "b.txt").write_text("text")
    pages, _ = read(tmp_path)
    assert [p.id for p in pages] == ["mine/b.txt"]
    pages, set_aside = read(write_lines(tmp_path / "c.parquet", b"nothing of the kind"))
    assert (pages, list(set_aside.counts)) == ([], ["truncated or corrupt Parquet"])


def test_a_missing_path_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"sources\.paths holds .*none, which does not exist"):
        read(tmp_path / "none")


def test_a_name_that_is_not_utf8_still_gives_a_valid_id(tmp_path):
    (tmp_path / "\udcff.txt").write_text("text")
    assert read(tmp_path)[0][0].id == "mine/\\udcff.txt"


# rows


def test_rows_of_every_form_become_pages(tmp_path):
    path = write_lines(
        tmp_path / "rows.jsonl",
        {"text": "文", "id": "d1", "url": "http://x", "source": "web", "license": "CC0"},
        b"",
        {"html": "<p>h</p>", "id": 7},
        {"content": "c"},
        {"content": "x = 1", "media": "text/x-python"},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
        {"instruction": "Add.", "input": "1 1", "output": "2"},
        {
            "instruction": "Say.",
            "input": "",
            "output": "加",
            "system": "S",
            "history": [["q", "a"]],
        },
    )
    pages, set_aside = read(path)
    assert set_aside.counts == {}
    assert [(p.id, p.media) for p in pages] == [
        ("mine/rows.jsonl#0:d1", "text/plain"),
        ("mine/rows.jsonl#2:7", "text/html"),
        ("mine/rows.jsonl#3", "text/plain"),
        ("mine/rows.jsonl#4", "text/x-python"),
        ("mine/rows.jsonl#5", "application/x-messages+json"),
        ("mine/rows.jsonl#6", "application/x-messages+json"),
        ("mine/rows.jsonl#7", "application/x-messages+json"),
    ]
    first = pages[0]
    assert (first.content.decode(), first.url, first.source) == ("文", "http://x", "web")
    assert [p.licence for p in pages] == ["CC0"] + ["MIT"] * 6
    assert json.loads(pages[4].content)[1] == {"role": "assistant", "content": "a"}
    assert json.loads(pages[5].content) == [
        {"role": "user", "content": "Add.\n1 1"},
        {"role": "assistant", "content": "2"},
    ]
    assert [(m["role"], m["content"]) for m in json.loads(pages[6].content)] == [
        ("system", "S"),
        ("user", "q"),
        ("assistant", "a"),
        ("user", "Say."),
        ("assistant", "加"),
    ]


def test_bad_rows_are_set_aside_by_reason_and_the_file_goes_on(tmp_path):
    bad = {
        "not UTF-8": b'{"text": "\xff\xfe"}',
        "not JSON": b'{"text": "cut',
        "half a surrogate pair": rb'{"text": "\ud800"}',
        "row is no object": b'["text"]',
        "no text, html, content, messages or instruction": {"title": "t"},
        "text is no text": {"text": 3},
        "messages is no list with content": {"messages": []},
        "message without a known role": {"messages": [{"from": "human", "value": "q"}]},
        "message is no text": {"messages": [{"role": "user", "content": None}]},
        "empty instruction or output": {"instruction": "Do.", "output": " "},
        "output is no text": {"instruction": "Do."},
        "history is no list of question and answer": {
            "instruction": "Do.",
            "output": "a",
            "history": ["q"],
        },
        "empty": {"text": "\n"},
        "larger than max_page_bytes": {"text": "x" * 200},
    }
    path = write_lines(tmp_path / "rows.jsonl", *bad.values(), b"[" * 100_000, {"text": "last"})
    pages, set_aside = read(path, max_page_bytes=150)
    assert [p.id for p in pages] == [f"mine/rows.jsonl#{len(bad) + 1}"]
    expected = dict.fromkeys(bad, 1) | {"larger than max_page_bytes": 2}
    assert set_aside.counts == expected
    assert set_aside.examples["not JSON"] == ["rows.jsonl#1"]


def test_names_in_rows_must_be_unicode_and_nesting_has_an_end(tmp_path):
    surrogate = rb'{"text": "a", "id": "\ud800"}'
    path = write_lines(tmp_path / "rows.jsonl", surrogate, b"[" * 100_000, {"text": "last"})
    pages, set_aside = read(path)
    assert [p.content for p in pages] == [b"last"]
    assert set_aside.counts == {"half a surrogate pair": 1, "not JSON": 1}


def test_a_line_may_have_exactly_the_largest_size_and_a_longer_one_is_skipped_whole(tmp_path):
    line = json.dumps({"text": "x" * 50}).encode()
    path = write_lines(tmp_path / "rows.jsonl", line, line + b" ", line)
    pages, set_aside = read(path, max_page_bytes=len(line))
    assert [p.id for p in pages] == ["mine/rows.jsonl#0", "mine/rows.jsonl#2"]
    assert set_aside.examples == {"larger than max_page_bytes": ["rows.jsonl#1"]}


def test_what_unpacks_to_too_much_never_stands_in_memory(tmp_path):
    bomb = gzip.compress(b"0" * 50_000_000)
    packed = (bomb, "text/html", "200 OK", ("Content-Encoding", "gzip"))
    write_warc(tmp_path / "a.warc", packed)
    write_warc(tmp_path / "b.warc.gz", (b"0" * 50_000_000, "text/html", "200 OK"))
    (tmp_path / "c.html.gz").write_bytes(bomb)
    (tmp_path / "d.jsonl.gz").write_bytes(bomb)
    (tmp_path / "e.json.gz").write_bytes(bomb)
    tracemalloc.start()
    pages, set_aside = read(tmp_path, max_page_bytes=100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pages == []
    assert sum(set_aside.counts.values()) == 5
    assert peak < 8_000_000


def test_rows_before_the_damage_of_a_gzip_file_are_kept(tmp_path):
    lines = b"".join(b'{"text": "%d"}\n' % n for n in range(100_000))
    whole = gzip.compress(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(whole)
    assert len(read(tmp_path)[0]) == 100_000
    (tmp_path / "a.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    pages, set_aside = read(tmp_path)
    assert 45_000 < len(pages) < 55_000
    assert set_aside.counts["truncated or corrupt gzip"] == 1


@pytest.mark.parametrize(
    "data",
    [
        '[{"text": "a"}, {"text": "b"}]',
        '\ufeff[\n  {"text": "a"},\n  {"text": "b"}\n]',
        '{"text": "a"}\n{"text": "b"}\n',
        '{\n  "text": "a"\n}',
        '{"text": "a"}',
    ],
)
def test_json_may_be_a_list_one_row_or_lines(tmp_path, data):
    (tmp_path / "a.json").write_text(data, encoding="utf-8")
    pages, set_aside = read(tmp_path)
    assert [p.content for p in pages] == [b"a", b"b"][: data.count("text")]
    assert set_aside.counts == {}


def test_a_json_list_is_bounded_and_a_broken_one_set_aside(tmp_path):
    (tmp_path / "a.json").write_text("[" + '{"text": "a"},' * 1000 + "]")
    assert read(tmp_path)[1].counts == {"not JSON": 1}
    assert read(tmp_path, max_page_bytes=100)[1].counts == {
        "list too large for .json; use .jsonl": 1
    }


def test_parquet_rows_are_read_like_json_rows(tmp_path):
    rows = [
        {"id": "a", "text": "文", "extra": 1, "messages": None},
        {"id": "b", "text": None, "messages": [{"role": "user", "content": "q"}]},
        {"id": "c", "text": None, "messages": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    pq.write_table(pa.table({"title": ["t"]}), tmp_path / "b.parquet")
    pq.write_table(
        pa.table({"content": [b"\xff<p>"], "media": ["text/html"]}), tmp_path / "c.parquet"
    )
    pages, set_aside = read(tmp_path)
    assert [(p.id, p.content) for p in pages] == [
        ("mine/a.parquet#0:a", "文".encode()),
        ("mine/a.parquet#1:b", b'[{"role": "user", "content": "q"}]'),
        ("mine/c.parquet#0", b"\xff<p>"),
    ]
    assert set_aside.counts == {
        "no text, html, content, messages or instruction": 1,
        "no column of text, html or conversations": 1,
    }


# WARC


def test_warc_gives_successful_html_and_text_with_http_encodings_undone(tmp_path):
    chunked = b"5\r\n<p>ch\r\n6\r\nunk</p\r\n1\r\n>\r\n0\r\n\r\n"
    path = write_warc(
        tmp_path / "a.warc.gz",
        (b"<p>plain</p>", "text/html", "200 OK"),
        (gzip.compress(b"<p>gz</p>"), "text/html", "200 OK", ("Content-Encoding", "gzip")),
        (chunked, "TEXT/HTML; charset=utf-8", "200 OK", ("Transfer-Encoding", "chunked")),
        ("中文".encode("gbk"), "text/plain; charset=gb2312", "200 OK"),
        (b"gone", "text/html", "404 Not Found"),
        (b"%PDF", "application/pdf", "200 OK"),
        (b"?", None, "200 OK"),
        (b"\x00not gzip", "text/html", "200 OK", ("Content-Encoding", "gzip")),
        (gzip.compress(b"0" * 10_000_000), "text/html", "200 OK", ("Content-Encoding", "gzip")),
        (b"0" * 20_000, "text/html", "200 OK"),
        (b"", "text/html", "200 OK"),
        (b"<p>last</p>", "application/xhtml+xml", "203 Fine"),
    )
    pages, set_aside = read(path, max_page_bytes=12_000)
    assert [(p.id, p.media, p.content.decode("utf-8-sig")) for p in pages] == [
        ("mine/a.warc.gz#0", "text/html", "<p>plain</p>"),
        ("mine/a.warc.gz#1", "text/html", "<p>gz</p>"),
        ("mine/a.warc.gz#2", "text/html", "<p>chunk</p>"),
        ("mine/a.warc.gz#3", "text/plain", "中文"),
        ("mine/a.warc.gz#11", "text/html", "<p>last</p>"),
    ]
    assert pages[4].url == "http://example.org/11"
    assert set_aside.counts == {
        "HTTP status is not 2xx": 1,
        "neither HTML nor text": 2,
        "HTTP response can't be decoded": 1,
        "larger than max_page_bytes": 2,
        "empty": 1,
    }


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_truncated_warc_gives_its_whole_records_and_counts_the_tail(tmp_path, name):
    responses = [(b"<p>%d</p>" % n * 5000, "text/html", "200 OK") for n in range(5)]
    path = write_warc(tmp_path / name, *responses)
    whole = path.read_bytes()
    for kept in (len(whole) - 40, len(whole) * 9 // 10, len(whole) // 2):
        path.write_bytes(whole[:kept])
        pages, set_aside = read(path)
        assert 2 <= len(pages) <= 4
        assert {len(p.content) for p in pages} == {len(responses[0][0])}
        assert set_aside.counts == {"truncated or corrupt WARC": 1}


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@pytest.mark.parametrize("garbage", [b"no archive at all\n" * 100, b"\x1f\x8b\x08" + b"\x00" * 500])
def test_what_is_no_warc_is_set_aside_whole(tmp_path, name, garbage):
    (tmp_path / name).write_bytes(garbage)
    pages, set_aside = read(tmp_path / name)
    assert pages == []
    assert set_aside.counts == {"truncated or corrupt WARC": 1}


def test_only_a_body_that_is_not_utf8_believes_the_http_header():
    assert as_utf8("é".encode(), "iso-8859-1") == "é".encode()
    assert as_utf8("é".encode("latin-1"), "iso-8859-1").decode("utf-8-sig") == "é"
    assert as_utf8(b"\xff", None) == b"\xff"
    assert as_utf8(b"\xff", "no such thing") == b"\xff"


@given(data=st.binary(max_size=3000), name=st.sampled_from(["jsonl", "json", "warc", "parquet"]))
def test_no_bytes_stop_the_reading(tmp_path_factory, data, name):
    folder = tmp_path_factory.mktemp("any")
    (folder / f"a.{name}").write_bytes(data)
    (folder / f"b.{name}.gz").write_bytes(gzip.compress(data))
    (folder / f"c.{name}.gz").write_bytes(data)
    (folder / "last.txt").write_text("last")
    pages, _ = read(folder)
    assert pages[-1].id == "mine/last.txt"
    assert len({p.id for p in pages}) == len(pages)
