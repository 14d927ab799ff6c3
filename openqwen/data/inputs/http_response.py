"""One HTTP response out of an archive: its body as the server meant it, or why there is none.

    response = read_response(block, max_bytes=16_000_000)
    response.status, response.media, response.charset, response.body

Archives hold what servers and crawlers really wrote: lines without carriage returns, HTTP/2, bodies
that were unpacked while the header still says gzip. Whatever it unpacks to, memory is bounded.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

UNDECODABLE = "HTTP response can't be decoded"
NO_HTTP = "no HTTP response"
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b", re.IGNORECASE)
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([^\s\"';,]+)", re.IGNORECASE)
_CHUNK = re.compile(rb"[ \t]*([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r?\n")
_MAX_ENCODINGS = 4  # one around another


class ResponseError(ValueError):
    """A response that gives no body; the message is what is counted."""


@dataclass(frozen=True, slots=True)
class Response:
    """What a server answered; `media` is lower case without parameters, `charset` "" if unsaid."""

    status: int
    media: str
    charset: str
    body: bytes


def read_response(block: bytes, max_bytes: int) -> Response:
    """Return a response with its transfer and content encodings undone.

    Args:
        block: status line, headers and body as archived.
        max_bytes: the body is cut one byte above, however far it would unpack.

    Raises:
        ResponseError: no HTTP response, or a body that can't be decoded.
    """
    status = _STATUS.match(block)
    if status is None:
        raise ResponseError(NO_HTTP)
    end = _HEAD_END.search(block)
    head, body = (block[: end.start()], block[end.end() :]) if end else (block, b"")
    headers = _parse(head)
    kind = headers.get("content-type", "")
    charset = _CHARSET.search(kind)
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _join_chunks(body)
    encodings = [name.strip() for name in headers.get("content-encoding", "").lower().split(",")]
    body = _decode(body, [name for name in encodings if name], max_bytes + 1)
    media = kind.partition(";")[0].strip().lower()
    return Response(int(status[1]), media, charset[1] if charset else "", body)


def _parse(head: bytes) -> dict[str, str]:
    """Return header names in lower case -> values; a repeated header's values are joined."""
    headers: dict[str, str] = {}
    for line in head.decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name = name.strip().lower()
            before = f"{headers[name]}, " if name in headers else ""
            headers[name] = before + value.strip()
    return headers


def _join_chunks(body: bytes) -> bytes:
    """Return a chunked body as one; one that never was chunked stays as it is.

    Raises:
        ResponseError: the body is cut or broken within a chunk.
    """
    parts, place = [], 0
    while place < len(body):
        opening = _CHUNK.match(body, place)
        if opening is None:
            if place == 0 and _is_plain(body):
                return body
            raise ResponseError(UNDECODABLE)
        size, start = int(opening[1], 16), opening.end()
        if size == 0:
            break
        if start + size > len(body):
            raise ResponseError(UNDECODABLE)
        parts.append(body[start : start + size])
        place = start + size
        place += 2 if body[place : place + 2] == b"\r\n" else 1
    return b"".join(parts)


def _decode(body: bytes, encodings: list[str], limit: int) -> bytes:
    """Undo content encodings, the last one first; a body already unpacked stays as it is.

    Raises:
        ResponseError: an unknown encoding, or bytes that are not of it.
    """
    if len(encodings) > _MAX_ENCODINGS:
        raise ResponseError(UNDECODABLE)
    for name in reversed(encodings):
        decoder = _DECODERS.get(name)
        try:
            if decoder is None:
                raise ValueError(f"unknown encoding {name}")
            body = decoder(body, limit) if body else body
        except (ValueError, OSError, EOFError, zlib.error, pa.ArrowException):
            if not _is_plain(body):
                raise ResponseError(UNDECODABLE) from None
    return body


def _is_plain(body: bytes) -> bool:
    """Return whether a body opens like a page or a text and not like packed bytes."""
    opening = body[:512].lstrip()
    return opening[:1] == b"<" or (opening.isascii() and b"\0" not in opening and b" " in opening)


def _inflate(window_bits: int) -> Callable[[bytes, int], bytes]:
    def decode(body: bytes, limit: int) -> bytes:
        """Return what can be had: a cut stream gives its beginning, as in browsers."""
        return zlib.decompressobj(window_bits).decompress(body, limit)

    return decode


def _deflate(body: bytes, limit: int) -> bytes:
    """Undo deflate with or without zlib's header: servers send both."""
    try:
        return _inflate(15)(body, limit)
    except zlib.error:
        return _inflate(-15)(body, limit)


def _arrow(codec: str) -> Callable[[bytes, int], bytes]:
    def decode(body: bytes, limit: int) -> bytes:
        with pa.CompressedInputStream(pa.BufferReader(body), codec) as stream:
            return bytes(stream.read(limit))

    return decode


def _as_is(body: bytes, limit: int) -> bytes:
    return body


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {
    "gzip": _inflate(31),
    "x-gzip": _inflate(31),
    "deflate": _deflate,
    "br": _arrow("brotli"),
    "zstd": _arrow("zstd"),
    "identity": _as_is,
    "none": _as_is,
}
