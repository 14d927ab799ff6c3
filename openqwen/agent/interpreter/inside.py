"""What runs first inside the kernel; sent as text, never imported by the host for its work.

`prepare` moves to the session's folder and sends printed text in pieces of a bounded size, so that
an endless print reaches the host as messages that it takes, and counts. Code that undoes this only
cuts itself off.
"""

import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

PIECE = 250_000  # characters of one message


def prepare(folder: str) -> None:
    """Make the kernel ready for code: its place, its streams, warnings that help nobody."""
    os.chdir(folder)
    send_in_pieces(type(sys.stdout))
    warnings.filterwarnings("ignore", message="Glyph .* missing from")  # no CJK font: docs say so


def send_in_pieces(stream_class: Any) -> None:
    """Have ipykernel's stream send before much has gathered, and never much at once.

    IPython replaces a stream's own `write` around every cell, so what lies below it is changed.
    """
    schedule, buffers = stream_class._schedule_flush, stream_class._flush_buffers

    def schedule_flush(stream: Any) -> None:
        if sum(buffer.tell() for buffer in list(stream._buffers.values())) > PIECE:
            stream.flush()
        else:
            schedule(stream)

    def flush_buffers(stream: Any) -> Iterator[tuple[Any, str]]:
        for parent, text in buffers(stream):
            for begin in range(0, len(text), PIECE):
                yield parent, text[begin : begin + PIECE]

    stream_class._schedule_flush = schedule_flush
    stream_class._flush_buffers = flush_buffers
