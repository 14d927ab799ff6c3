"""A request's body, whole and within bounds, before any handler sees it.

body = await read_body(receive, headers, most_bytes=4_000_000, timeout_s=30.0)
"""

import asyncio
from collections.abc import Mapping

from starlette.types import Receive

from openqwen.serve.errors import ApiError


class ClientGoneError(Exception):
    """The client has left, or stands still: nobody hears an answer."""


async def read_body(
    receive: Receive, headers: Mapping[str, str], *, most_bytes: int, timeout_s: float
) -> bytes:
    """Return the body; one in chunks is counted as it comes.

    Raises:
        ApiError: 413 if it is too long, 408 if it takes too long, 400 if its length is no number.
        ClientGoneError: if the client leaves in the middle.
    """
    declared = headers.get("content-length", "0")
    if not declared.isdecimal():
        raise ApiError(400, f"content-length is {declared[:40]!r}, no number", code="bad_request")
    if int(declared) > most_bytes:
        raise _too_long(most_bytes)
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part = message.get("body", b"")
                size += len(part)
                if size > most_bytes:
                    raise _too_long(most_bytes)
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise ApiError(
            408,
            f"the body was not whole in {timeout_s:g} s",
            code="request_timeout",
            headers={"connection": "close"},
        ) from None


def _too_long(most_bytes: int) -> ApiError:
    return ApiError(
        413,
        f"the body is longer than {most_bytes:,} bytes (max_body_bytes)",
        code="request_too_large",
        headers={"connection": "close"},
    )
