"""Inputs that break readers and parsers, each beside good pages that must come out untouched.

    for case in CASES: case.write(folder, SMALL); case.reasons; case.good

The same cases in two sizes: SMALL for the tests, FULL (a 100 MB line, bombs of 1 GB) for the
benchmark that measures memory. Written without help of the project's own code.
"""

import gzip
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Size:
    """How large the large ones are."""

    line_bytes: int
    bomb_bytes: int
    depth: int
    limit: int  # max_page_bytes to read with


SMALL = Size(line_bytes=1_000_000, bomb_bytes=4_000_000, depth=9_000, limit=200_000)
FULL = Size(line_bytes=100_000_000, bomb_bytes=1_000_000_000, depth=100_000, limit=16_000_000)


@dataclass(frozen=True)
class Case:
    """One kind of hostile input: what writes it, what it may be counted as, what survives."""

    name: str
    write: Callable[[Path, Size], None]
    reasons: frozenset[str]  # each must be counted, and nothing else; "|" joins alternatives
    good: int  # pages that come out byte for byte


def good_text(number: int) -> str:
    return f"Good page {number}: the tide was {number} metres high — 潮水 {number} 米."


def good_html(number: int) -> bytes:
    return f"<html><body><p>{good_text(number)}</p></body></html>".encode()


CASES: list[Case] = []


def case(*reasons: str, good: int) -> Callable[[Callable[[Path, Size], None]], None]:
    def add(write: Callable[[Path, Size], None]) -> None:
        name = write.__name__.strip("_").replace("_", " ")
        CASES.append(Case(name, write, frozenset(reasons), good))

    return add


def _rows(*numbers: int) -> bytes:
    return b"".join(json.dumps({"text": good_text(n)}).encode() + b"\n" for n in numbers)


def warc_record(block: bytes, length: object = None) -> bytes:
    size = len(block) if length is None else length
    return (
        (
            "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://example.org/\r\n"
            f"Content-Type: application/http; msgtype=response\r\nContent-Length: {size}\r\n\r\n"
        ).encode()
        + block
        + b"\r\n\r\n"
    )


def http_block(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", "Content-Type: text/html; charset=utf-8", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def good_record(number: int) -> bytes:
    return warc_record(http_block(good_html(number)))


def zeros_gzipped(num_bytes: int) -> bytes:
    """Return the gzip of so many zero bytes without holding them."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    step = bytes(min(num_bytes, 1 << 22))
    parts = [packer.compress(step) for _ in range(num_bytes // len(step))]
    return b"".join([*parts, packer.flush()])


# archives


@case("truncated or corrupt gzip", good=400)
def _gzip_cut_in_the_middle(folder: Path, size: Size) -> None:
    head = zlib.compressobj(6, zlib.DEFLATED, 31)
    whole = head.compress(_rows(*range(400))) + head.flush(zlib.Z_FULL_FLUSH)
    rest = head.compress(os.urandom(50_000).hex().encode()) + head.flush()
    (folder / "a.jsonl.gz").write_bytes(whole + rest[: len(rest) // 2])


@case("truncated or corrupt gzip", good=1)
def _named_gz_but_no_gzip(folder: Path, size: Size) -> None:
    (folder / "a.html.gz").write_bytes(good_html(7) * 9)
    (folder / "b.html").write_bytes(good_html(0))


@case("truncated or corrupt WARC", good=2)
def _warc_cut_in_a_record(folder: Path, size: Size) -> None:
    data = good_record(0) + good_record(1)
    (folder / "a.warc").write_bytes(data + warc_record(http_block(b"x" * 5000))[:-900])


@case("truncated or corrupt WARC", good=2)
def _packed_warc_cut_in_a_record(folder: Path, size: Size) -> None:
    bad = gzip.compress(warc_record(http_block(os.urandom(9000))))
    data = gzip.compress(good_record(0)) + gzip.compress(good_record(1))
    (folder / "a.warc.gz").write_bytes(data + bad[: len(bad) // 2])


@case("truncated or corrupt WARC", good=4)
def _packed_warc_with_broken_members(folder: Path, size: Size) -> None:
    members = []
    for number in range(4):
        bad = bytearray(gzip.compress(warc_record(http_block(os.urandom(9000)))))
        bad[len(bad) * (number + 1) // 6] ^= 0x41
        members += [gzip.compress(good_record(number)), bytes(bad)]
    (folder / "a.warc.gz").write_bytes(b"".join(members))


@case("truncated or corrupt WARC", "larger than max_page_bytes", good=7)
def _warc_with_wrong_lengths(folder: Path, size: Size) -> None:
    parts = [good_record(0)]
    for number, length in enumerate((9, 5000, 10**15, -1, "many", ""), start=1):
        parts += [warc_record(http_block(b"<p>wrong</p>" * 9), length), good_record(number)]
    (folder / "a.warc").write_bytes(b"".join(parts))


@case("HTTP response can't be decoded", "larger than max_page_bytes", good=2)
def _bombs_in_http_bodies(folder: Path, size: Size) -> None:
    zeros = bytes(size.bomb_bytes // 10)
    bombs = [
        http_block(zeros_gzipped(size.bomb_bytes), "Content-Encoding: gzip"),
        http_block(zlib.compress(zeros), "Content-Encoding: deflate"),
        http_block(bytes(pa.compress(zeros, codec="brotli")), "Content-Encoding: br"),
        http_block(bytes(pa.compress(zeros, codec="zstd")), "Content-Encoding: zstd"),
        http_block(b"\x1f\x8b\x08 not really", "Content-Encoding: gzip"),
        http_block(b"FFFFFFF\r\nshort", "Transfer-Encoding: chunked"),
    ]
    data = b"".join(gzip.compress(warc_record(bomb)) for bomb in bombs)
    (folder / "a.warc.gz").write_bytes(
        gzip.compress(good_record(0)) + data + gzip.compress(good_record(1))
    )


@case("larger than max_page_bytes", "list too large for .json; use .jsonl", good=1)
def _bombs_in_gzip_files(folder: Path, size: Size) -> None:
    bomb = zeros_gzipped(size.bomb_bytes * (1 if size is FULL else 6))
    for name in ("a.html.gz", "b.txt.gz", "c.jsonl.gz", "d.json.gz"):
        (folder / name).write_bytes(bomb)
    (folder / "e.txt").write_text(good_text(0), encoding="utf-8")


# text and encodings


@case("larger than max_page_bytes", good=2)
def _one_endless_line(folder: Path, size: Size) -> None:
    with (folder / "a.jsonl").open("wb") as file:
        file.write(_rows(0) + b'{"text": "')
        for _ in range(size.line_bytes // 1_000_000):
            file.write(b"x" * 1_000_000)
        file.write(b'"}\n' + _rows(1))
    with (folder / "b.html").open("wb") as file:
        for _ in range(size.line_bytes // 1_000_000):
            file.write(b"y" * 1_000_000)


@case("encoding", "not UTF-8", good=2)
def _invalid_and_mixed_encodings(folder: Path, size: Size) -> None:
    mixed = (
        "潮汐记录".encode() * 50 + "潮汐记录".encode("gbk") * 50 + "潮汐".encode("utf-16-le") * 50
    )
    (folder / "a.txt").write_bytes(mixed + b"\xff\xfe\xfd" * 30)
    (folder / "b.jsonl").write_bytes(_rows(0) + b'{"text": "\xff\xfe\xff"}\n' + _rows(1))


@case("not text", good=2)
def _null_bytes(folder: Path, size: Size) -> None:
    (folder / "a.html").write_bytes(b"<p>a\0b</p>" * 500)
    (folder / "b.txt").write_bytes(b"\0" * 5000)
    (folder / "c.jsonl").write_bytes(
        json.dumps({"text": "x y\0" * 99}).encode() + b"\n" + _rows(0, 1)
    )


@case(good=3)
def _utf16_without_a_mark(folder: Path, size: Size) -> None:
    for number, encoding in enumerate(("utf-16-le", "utf-16-be", "utf-16")):
        (folder / f"{number}.html").write_bytes(good_html(number).decode().encode(encoding))


# HTML


@case("timeout|memory|crash|empty|failed", good=1)
def _deeply_nested_pages(folder: Path, size: Size) -> None:
    for number, tag in enumerate(
        ("div", "b", "table><tr><td", "ul><li", "math><mrow", "blockquote")
    ):
        opening = f"<{tag}>" * size.depth
        (folder / f"a{number}.html").write_text(opening)
    (folder / "b.html").write_bytes(good_html(0))


@case("timeout|memory|crash|empty|failed", good=1)
def _huge_and_many_attributes(folder: Path, size: Size) -> None:
    many = " ".join(f"a{number}=1" for number in range(size.limit // 12))
    (folder / "a.html").write_text(f"<p {many}></p>")
    (folder / "b.html").write_text(f'<p title="{"x" * (size.limit - 99)}"></p>')
    (folder / "c.html").write_text(f'<p class="{"nav " * (size.limit // 5)}"></p>')
    (folder / "d.html").write_bytes(good_html(0))


@case("timeout|memory|crash|empty|failed", good=1)
def _endless_small_elements(folder: Path, size: Size) -> None:
    for number, item in enumerate(
        ("<a href=x>", "<table><tr><td>", "<pre></pre>", "<p><br>", "<!--")
    ):
        (folder / f"a{number}.html").write_text(item * (size.limit // len(item) - 9))
    (folder / "b.html").write_bytes(good_html(0))


@case(good=1)
def _entities_that_name_each_other(folder: Path, size: Size) -> None:
    lines = ['<!ENTITY a "ha">', *(f'<!ENTITY a{n} "&a{n - 1};&a{n - 1};">' for n in range(1, 60))]
    doctype = f"<!DOCTYPE html [{''.join(lines)}]>".replace("&a0;", "&a;")
    (folder / "a.html").write_text(doctype + "<p>&a59; and so on &a59</p>", encoding="utf-8")
    (folder / "b.html").write_bytes(good_html(0))


# rows


@case("not JSON", "bad messages|no text, html, content, messages or instruction", good=2)
def _json_bombs(folder: Path, size: Size) -> None:
    deep = b"[" * size.depth
    (folder / "a.jsonl").write_bytes(
        _rows(0) + deep + b"\n" + b'{"text": ' * size.depth + b"\n" + b"9" * 9000 + b"\n"
        b'{"a": [' + b"[" * 400 + b"]" * 400 + b"]}\n" + _rows(1)
    )
    (folder / "b.json").write_bytes(deep)


@case(
    "row is no object",
    "text is no text",
    "half a surrogate pair",
    "no text, html, content, messages or instruction",
    "not JSON",
    "empty",
    good=2,
)
def _rows_of_odd_types(folder: Path, size: Size) -> None:
    (folder / "a.jsonl").write_bytes(
        _rows(0) + b'[1]\nnull\n{"text": 3}\n{"text": {"a": 1}}\n{"text": "\\ud800"}\n{}\n'
        b'{"text": NaN}\n{"text": ""}\n{"text": "a",}\n\xef\xbb\xbf\n' + _rows(1)
    )


@case(
    "truncated or corrupt Parquet",
    "no column of text, html or conversations",
    "text is no text",
    good=3,
)
def _broken_parquet(folder: Path, size: Size) -> None:
    table = pa.table({"text": [good_text(number) for number in range(3)]})
    pq.write_table(table, folder / "a.parquet")
    data = (folder / "a.parquet").read_bytes()
    (folder / "b.parquet").write_bytes(data[:-9])
    (folder / "c.parquet").write_bytes(data[:-20] + b"\xff" * 12 + data[-8:])
    (folder / "d.parquet").write_bytes(b"PAR1" + b"\xff" * 99 + b"\xff\xff\xff\x7fPAR1")
    pq.write_table(pa.table({"title": ["t"]}), folder / "e.parquet")
    pq.write_table(pa.table({"text": [1, 2]}), folder / "f.parquet")
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), folder / "g.parquet")


@case("truncated or corrupt Parquet", good=20)
def _parquet_with_one_broken_row_group(folder: Path, size: Size) -> None:
    path = folder / "a.parquet"
    texts = [good_text(n) for n in range(10)] + ["bad" * 50] * 10
    texts += [good_text(n) for n in range(10, 20)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=10, compression="snappy")
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)


@case("larger than max_page_bytes", good=2)
def _parquet_cells_that_unpack_to_too_much(folder: Path, size: Size) -> None:
    value = "x" * (size.line_bytes // 2)
    texts = [good_text(0)] + [value] * 50 + [good_text(1)]
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / "a.parquet")


# folders


@case("can't be opened", "not a regular file", "link to a folder, not followed", "empty", good=2)
def _odd_files(folder: Path, size: Size) -> None:
    (folder / "down" / "deeper").mkdir(parents=True)
    (folder / "down" / "deeper" / "up").symlink_to(folder)
    (folder / "circle.html").symlink_to("circle.html")
    (folder / "nowhere.txt").symlink_to("missing")
    os.mkfifo(folder / "pipe.jsonl")
    for name in ("a.html", "b.warc", "c.jsonl", "d.txt"):
        (folder / name).touch()
    with open(os.fsencode(folder) + b"/\xff\xfe.html", "wb") as file:
        file.write(good_html(0))
    (folder / "down" / "good.html").write_bytes(good_html(1))


@case(
    "truncated or corrupt gzip", "truncated or corrupt WARC", "truncated or corrupt Parquet", good=1
)
def _empty_packed_files(folder: Path, size: Size) -> None:
    for name in ("b.parquet", "c.parquet.gz"):
        (folder / name).touch()
    (folder / "d.jsonl.gz").write_bytes(b"\x1f\x8b")
    (folder / "e.warc.gz").write_bytes(b"\x1f\x8b\x08\x00")
    (folder / "f.html").write_bytes(good_html(0))
