"""WARC files: the HTML and text that servers answered with, up to the end or to the damage.

for page in read_warc(file, "CC-MAIN.warc.gz", origin): ...
"""

from collections.abc import Iterator

from fastwarc.warc import ArchiveIterator, WarcRecord, WarcRecordType
from resiliparse.parse.encoding import map_encoding_to_html5

from openqwen.core.documents import Page
from openqwen.data.origin import GZIP_ERRORS, TOO_LARGE, EagerGzip, Origin
from openqwen.data.rows import HTML, TEXT
from openqwen.data.stores import InputFile

MEDIA = {"text/html": HTML, "application/xhtml+xml": HTML, "text/plain": TEXT}
DAMAGED = "truncated or corrupt WARC"
UTF8_MARK = b"\xef\xbb\xbf"


def read_warc(file: InputFile, where: str, origin: Origin) -> Iterator[Page]:
    """Yield a page for each successful HTML or text response."""
    place = f"{where}#0"
    with EagerGzip(file.open()) if file.is_gzipped else file.open() as opened:
        try:
            records = ArchiveIterator(
                opened, record_types=WarcRecordType.response, parse_http=False
            )
            for index, record in enumerate(records):
                place = f"{where}#{index}"
                announced = record.content_length
                if announced > origin.max_page_bytes:
                    origin.set_aside.add(TOO_LARGE, place)
                    continue
                block = _read_bounded(record, announced)
                if not block or len(block) < announced:
                    origin.set_aside.add(DAMAGED, place)
                elif not record.is_http:
                    origin.set_aside.add("no HTTP response", place)
                else:
                    url = record.headers.get("WARC-Target-URI") or ""
                    yield from _read_response(block, url, place, origin)
        except (*GZIP_ERRORS, OSError) as error:
            origin.set_aside.add(DAMAGED, f"at or after {place}: {error}")


def _read_response(block: bytes, url: str, place: str, origin: Origin) -> Iterator[Page]:
    """Yield one response's page, its HTTP encodings undone, or set it aside."""
    record = WarcRecord()  # of its own: a response that can't be parsed would end the whole file
    record.init_headers(record_type=WarcRecordType.response)
    record.is_http = True
    record.set_bytes_content(block)
    try:
        record.parse_http(auto_decode="all")
        reason, media = _judge(record)
        if reason:
            origin.set_aside.add(reason, place)
            return
        content = _read_bounded(record, origin.max_page_bytes + 1)
    except OSError as error:
        origin.set_aside.add("HTTP response can't be decoded", f"{place}: {error}")
        return
    yield from origin.page(place, media, as_utf8(content, record.http_charset), url=url)


def _judge(record: WarcRecord) -> tuple[str, str]:
    """Return why a response is no page ("" if it is one) and its media type."""
    http = record.http_headers
    if http is None or http.status_code is None or not 200 <= http.status_code < 300:
        return "HTTP status is not 2xx", ""
    media = MEDIA.get((record.http_content_type or "").strip().lower(), "")
    return ("" if media else "neither HTML nor text"), media


def _read_bounded(record: WarcRecord, limit: int) -> bytes:
    """Return the payload, at most `limit` bytes of it however far it would unpack."""
    parts, left = [], limit
    while left > 0 and (part := record.reader.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


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
