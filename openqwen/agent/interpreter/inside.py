"""What runs first inside the kernel; sent as text, never called by the host.

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
CHILDREN = "ipc:///tmp/.openqwen-{}"  # where forked processes send what they print


def launch() -> None:
    """Be a kernel; starts away from the session's folder, where earlier code may have left files.

    ipykernel hears of what forked processes print through a TCP port. It gets a Unix socket
    instead: no port is opened, and the sandbox's filter refuses what finding an interface takes.
    """
    os.chdir("/")
    import zmq
    from ipykernel.iostream import IOPubThread
    from ipykernel.kernelapp import launch_new_instance
    from zmq.eventloop.zmqstream import ZMQStream

    def listen(thread: Any) -> None:
        thread._pipe_uuid = os.urandom(16)
        thread._pipe_port = os.getpid()
        puller = thread.socket.context.socket(zmq.PULL)
        puller.linger = 0
        puller.bind(CHILDREN.format(thread._pipe_port))
        thread._pipe_in = ZMQStream(puller, thread.io_loop)
        thread._pipe_in.on_recv(thread._handle_pipe_msg)

    def speak(thread: Any) -> tuple[Any, Any]:
        context = zmq.Context()
        pusher = context.socket(zmq.PUSH)
        pusher.linger = 3000
        pusher.connect(CHILDREN.format(thread._pipe_port))
        return context, pusher

    kind: Any = IOPubThread
    kind._setup_pipe_in, kind._setup_pipe_out = listen, speak
    launch_new_instance()


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
