"""WARC files: the HTML and text that servers answered with; WET files: the text made of it.

for page in read_warc(file, "CC-MAIN.warc.gz", origin): ...

Pages come out of response, resource and conversion records; requests, metadata and revisits hold
none. A damaged record is set aside, and reading goes on at the next one.
"""

from collections.abc import Iterator
from typing import IO, cast

from resiliparse.parse.encoding import map_encoding_to_html5

from openqwen.core.documents import Page
from openqwen.data.inputs import warc_records
from openqwen.data.inputs.gzip_stream import GzipStream
from openqwen.data.inputs.http_response import ResponseError, read_response
from openqwen.data.inputs.origin import TOO_LARGE, Origin
from openqwen.data.inputs.rows import HTML, TEXT
from openqwen.data.inputs.stores import InputFile
from openqwen.data.inputs.warc_records import Record, read_records

MEDIA = {"text/html": HTML, "application/xhtml+xml": HTML, "text/plain": TEXT}
DAMAGED = "truncated or corrupt WARC"
NO_PAGE = "neither HTML nor text"
UTF8_MARK = b"\xef\xbb\xbf"
TYPES = ("response", "resource", "conversion")
MAX_HEAD_BYTES = 1 << 20  # of a response, beyond its page


def read_warc(file: InputFile, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a page for each successful HTML or text response, resource or conversion record."""
    opened = file.open()
    if file.is_gzipped:
        opened = cast(IO[bytes], GzipStream(opened))
    with opened:
        index = -1
        for record in read_records(opened, origin.max_page_bytes + MAX_HEAD_BYTES):
            if record.headers and record.type not in TYPES and not record.trouble:
                continue
            index += 1
            place = f"{where}#{index}"
            if record.trouble:
                is_large = record.trouble == warc_records.TOO_LARGE
                reason = TOO_LARGE if is_large else DAMAGED
                origin.set_aside.add(reason, f"{place}: {record.detail}")
            elif record.type == "response":
                yield from _read_response(record, place, origin)
            else:
                yield from _read_resource(record, place, origin)


def _read_response(record: Record, place: str, origin: Origin) -> Iterator[Page]:
    """Yield one response's page, its HTTP encodings undone, or set it aside."""
    try:
        response = read_response(record.block, origin.max_page_bytes)
    except ResponseError as error:
        origin.set_aside.add(str(error), place)
        return
    named = response.media or record.headers.get("warc-identified-payload-type", "").lower()
    media = MEDIA.get(named, "")
    if not 200 <= response.status < 300:
        origin.set_aside.add("HTTP status is not 2xx", place)
    elif not media:
        origin.set_aside.add(NO_PAGE, place)
    else:
        content = as_utf8(response.body, response.charset)
        yield from origin.page(place, media, content, url=_url(record))


def _read_resource(record: Record, place: str, origin: Origin) -> Iterator[Page]:
    """Yield the page of a record whose block is the page itself."""
    media = MEDIA.get(record.headers.get("content-type", "").partition(";")[0].strip().lower(), "")
    if not media:
        origin.set_aside.add(NO_PAGE, place)
    else:
        yield from origin.page(place, media, record.block, url=_url(record))


def _url(record: Record) -> str:
    return record.headers.get("warc-target-uri", "").strip("<>")


def as_utf8(content: bytes, charset: str | None) -> bytes:
    """Return a response's body so that it can be decoded without the HTTP header.

    Valid UTF-8 stays as it is, whatever the header says. Otherwise the header's encoding, which
    outranks what the page says of itself (HTML standard), is undone and a byte order mark put
    before the UTF-8, since that outranks both.
    """
    encoding = map_encoding_to_html5(charset, fallback_utf8=True) if charset else "utf-8"
    if encoding is None or encoding == "utf-8":
        return content
    try:
        content.decode()
    except UnicodeDecodeError:
        return UTF8_MARK + content.decode(encoding, "replace").encode()
    return content
