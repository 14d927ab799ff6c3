import contextlib
import gzip
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.data.inputs.gzip_stream import GZIP_ERRORS, GzipStream
from openqwen.data.inputs.http_response import ResponseError, read_response
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.stores import InputFile, Store
from openqwen.data.inputs.warc import read_warc

LIMIT = 100_000
PLAIN = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"


def record(
    body, http=PLAIN, kind="response", media="application/http; msgtype=response", length=None
):
    """Return one WARC record as bytes, whatever length it claims."""
    block = http.encode() + body
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: http://e/\r\nContent-Type: {media}"
    if length != "none":
        head += f"\r\nContent-Length: {len(block) if length is None else length}"
    return head.encode() + b"\r\n\r\n" + block + b"\r\n\r\n"


def good(number):
    return record(b"<p>good %d</p>" % number)


def read(tmp_path, data, name="a.warc"):
    """Return the contents of the pages of a file, and what was set aside."""
    (tmp_path / name).write_bytes(data)
    set_aside = SetAside()
    file = InputFile(Store(), str(tmp_path / name))
    pages = list(read_warc(file, "w", Origin("s", "", LIMIT, set_aside)))
    return [page.content.decode() for page in pages], set_aside.counts


def packed(codec, data):
    return bytes(pa.compress(data, codec=codec))


DAMAGE = {"truncated or corrupt WARC": 1}


@pytest.mark.parametrize("length", [90, 200, 400, -5, "abc", "none", "٣", "9" * 30, ""])
def test_a_wrong_length_costs_its_own_record_only(tmp_path, length):
    data = good(1) + record(b"<p>bad</p>" * 20, length=length) + good(2) + good(3)
    pages, counts = read(tmp_path, data)
    assert pages == ["<p>good 1</p>", "<p>good 2</p>", "<p>good 3</p>"]
    expected = {"larger than max_page_bytes": 1} if length == "9" * 30 else DAMAGE
    assert counts == expected


def test_what_stands_between_records_is_counted_and_passed_over(tmp_path):
    data = good(1) + b"\x00\xffjunk\r\n" * 9000 + good(2)
    assert read(tmp_path, data) == (["<p>good 1</p>", "<p>good 2</p>"], DAMAGE)


def test_a_length_that_swallows_the_next_record_is_seen_where_no_record_follows(tmp_path):
    swallowed = good(2)
    bad = record(b"<p>bad</p>", length=len(PLAIN) + 10 + len(swallowed))
    pages, counts = read(tmp_path, bad + swallowed + b"junk\r\n" + good(3))
    assert pages == ["<p>good 2</p>", "<p>good 3</p>"]
    assert counts["truncated or corrupt WARC"] >= 1


def test_a_page_may_quote_a_warc_file(tmp_path):
    quoting = record(b"<pre>\n" + good(7) + b"</pre>")
    pages, counts = read(tmp_path, good(1) + quoting + good(2))
    assert (len(pages), counts) == (3, {})
    assert "good 7" in pages[1]


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_damaged_member_costs_its_own_record_only(tmp_path, place):
    bad = bytearray(gzip.compress(record(bytes(range(256)) * 40)))
    bad[int(len(bad) * place)] ^= 0x55
    members = [gzip.compress(good(number)) for number in range(1, 4)]
    data = members[0] + bytes(bad) + members[1] + members[2]
    pages, counts = read(tmp_path, data, "a.warc.gz")
    assert pages == ["<p>good 1</p>", "<p>good 2</p>", "<p>good 3</p>"]
    assert counts == DAMAGE


def test_a_member_cut_short_costs_its_own_record_only(tmp_path):
    bad = gzip.compress(record(bytes(range(256)) * 40))[:-30]
    data = gzip.compress(good(1)) + bad + gzip.compress(good(2))
    assert read(tmp_path, data, "a.warc.gz") == (["<p>good 1</p>", "<p>good 2</p>"], DAMAGE)


def test_a_block_above_the_limit_is_passed_over_in_bounded_memory(tmp_path):
    data = good(1) + record(b"x" * 3_000_000) + good(2)
    pages, counts = read(tmp_path, data)
    assert pages == ["<p>good 1</p>", "<p>good 2</p>"]
    assert counts == {"larger than max_page_bytes": 1}


def test_pages_come_out_of_responses_resources_and_conversions_alone(tmp_path):
    data = (
        record(b"", kind="warcinfo", media="application/warc-fields", http="software: x\r\n")
        + record(b"", kind="request", http="GET / HTTP/1.1\r\n\r\n")
        + record(b"", kind="revisit")
        + record(b"a: b\r\n", kind="metadata", media="application/warc-fields", http="")
        + record(b"<p>of its own</p>", kind="resource", media="text/html; charset=utf-8", http="")
        + record("文 text".encode(), kind="conversion", media="text/plain", http="")
        + record(b"%PDF", kind="resource", media="application/pdf", http="")
        + good(1)
    )
    pages, counts = read(tmp_path, data)
    assert pages == ["<p>of its own</p>", "文 text", "<p>good 1</p>"]
    assert counts == {"neither HTML nor text": 1}


def test_a_response_without_a_type_has_the_one_the_crawler_saw(tmp_path):
    one = record(b"<p>x</p>", http="HTTP/1.1 200 OK\r\n\r\n")
    seen = one.replace(b"WARC-Target", b"WARC-Identified-Payload-Type: text/html\r\nWARC-Target")
    pages, counts = read(tmp_path, one + seen)
    assert (pages, counts) == (["<p>x</p>"], {"neither HTML nor text": 1})


# HTTP


def http(body, *headers, status="HTTP/1.1 200 OK", end="\r\n"):
    return end.join([status, *headers, "", ""]).encode() + body


PAGE = b"<p>page</p>" * 30


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(PAGE, mtime=0)),
        ("x-gzip", gzip.compress(PAGE, mtime=0)),
        ("deflate", zlib.compress(PAGE)),
        ("deflate", zlib.compress(PAGE)[2:-4]),
        ("br", packed("brotli", PAGE)),
        ("zstd", packed("zstd", PAGE)),
        ("gzip, br", packed("brotli", gzip.compress(PAGE, mtime=0))),
        ("identity", PAGE),
        ("gzip", PAGE),
        ("made-up", PAGE),
        ("", PAGE),
    ],
)
def test_content_encodings_are_undone_unless_the_archive_has_done_so(encoding, body):
    block = http(body, "Content-Type: Text/HTML; charset='x-Sjis'", f"Content-Encoding: {encoding}")
    response = read_response(block, LIMIT)
    assert (response.status, response.media, response.charset) == (200, "text/html", "x-Sjis")
    assert response.body == PAGE


@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "made-up", "gzip,gzip,gzip,gzip,gzip"]
)
def test_bytes_of_no_such_encoding_are_set_aside(encoding):
    with pytest.raises(ResponseError, match="HTTP response can't be decoded"):
        read_response(http(bytes(range(256)), f"Content-Encoding: {encoding}"), LIMIT)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_body_that_unpacks_to_too_much_is_cut_one_byte_above_the_limit(encoding):
    zeros = bytes(5_000_000)
    body = {
        "gzip": gzip.compress(zeros, mtime=0),
        "deflate": zlib.compress(zeros),
        "br": packed("brotli", zeros),
        "zstd": packed("zstd", zeros),
    }[encoding]
    assert len(read_response(http(body, f"Content-Encoding: {encoding}"), 1000).body) == 1001


@pytest.mark.parametrize(
    ("body", "joined"),
    [
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5;ext=1\r\nhello\r\n3 \r\nyou\r\n0\r\nTrailer: x\r\n\r\n", b"helloyou"),
        (b"5\nhello\n0\n\n", b"hello"),
        (b"<p>never chunked</p>", b"<p>never chunked</p>"),
        (b"", b""),
        (b"5\r\nhel", None),
        (b"FFFFFFF\r\nhello", None),
        (b"5\r\nhelloZZ\r\n", None),
    ],
)
def test_chunks_are_joined_or_refused(body, joined):
    block = http(body, "Transfer-Encoding: Chunked")
    if joined is None:
        with pytest.raises(ResponseError, match="can't be decoded"):
            read_response(block, LIMIT)
    else:
        assert read_response(block, LIMIT).body == joined


@pytest.mark.parametrize(
    "status", ["HTTP/2 200", "HTTP/1.0 200", "http/1.1 200 OK", "HTTP/1.1 200 "]
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_status_lines_and_line_ends_of_every_kind_are_read(status, end):
    response = read_response(http(PAGE, "content-type:text/html", status=status, end=end), LIMIT)
    assert (response.status, response.media, response.body) == (200, "text/html", PAGE)


@given(data=st.binary(max_size=300))
def test_any_bytes_give_a_response_or_a_reason(data):
    for block in (
        data,
        PLAIN.encode() + data,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\n" + data,
    ):
        with contextlib.suppress(ResponseError):
            assert len(read_response(block, LIMIT).body) <= LIMIT + 1


# gzip


@given(
    texts=st.lists(st.binary(max_size=2000), min_size=1, max_size=5),
    sizes=st.lists(st.integers(1, 3000), min_size=1),
)
def test_members_come_out_as_they_went_in_however_they_are_read(tmp_path_factory, texts, sizes):
    path = tmp_path_factory.mktemp("gz") / "a.gz"
    path.write_bytes(b"".join(gzip.compress(text, mtime=0) for text in texts) + b"\0" * 7)
    found, turn = b"", 0
    with GzipStream(path.open("rb")) as stream:
        while data := stream.read(sizes[turn % len(sizes)]):
            found += data
            turn += 1
    assert found == b"".join(texts)


def test_what_stands_before_the_damage_comes_out_and_the_next_member_follows(tmp_path):
    text = bytes(range(256)) * 2000
    cut = gzip.compress(text, 0)[:-4000]  # stored as it is, so it reads on into what follows
    (tmp_path / "a.gz").write_bytes(cut + gzip.compress(b"next") + b"no gzip")
    with GzipStream((tmp_path / "a.gz").open("rb")) as stream:
        assert text.startswith(_until_damage(stream)[:500_000])
        assert stream.resume()
        assert _until_damage(stream) == b"next"
        assert not stream.resume()


def _until_damage(stream):
    found = b""
    try:
        while data := stream.read(1000):
            found += data
    except GZIP_ERRORS:
        return found
    raise AssertionError("no damage was met")
