"""Translated messages in gettext's compiled catalogues (.mo): running text in many languages.

for message in translations(content): ...

The format is GNU gettext's ("The Format of GNU MO Files" in its manual).
"""

import struct
from collections.abc import Iterator

_MAGIC = 0x950412DE
_CONTEXT, _PLURAL = b"\x04", b"\x00"


def translations(content: bytes) -> Iterator[str]:
    """Yield each translated message; of plural forms the last, the most general one.

    Messages left in the original's words are not yielded, nor is the header.

    Raises:
        ValueError: if this is no catalogue, or a message lies outside the file.
    """
    orders = {struct.pack(order + "I", _MAGIC): order for order in "<>"}
    order = orders.get(content[:4])
    if order is None or len(content) < 20:
        raise ValueError("no message catalogue: its first bytes are others")
    count, originals, translated = struct.unpack(order + "3I", content[8:20])
    for i in range(count):
        original = _string(content, order, originals + 8 * i)
        message = _string(content, order, translated + 8 * i)
        singular = original.rpartition(_CONTEXT)[2].split(_PLURAL)[0]
        last = message.split(_PLURAL)[-1]
        if original and last.strip() and last != singular:
            yield last.decode("utf-8", "replace")


def _string(content: bytes, order: str, place: int) -> bytes:
    if place + 8 > len(content):
        raise ValueError("a message catalogue cut short")
    size, start = struct.unpack(order + "2I", content[place : place + 8])
    if start + size > len(content):
        raise ValueError("a message catalogue cut short")
    return content[start : start + size]
