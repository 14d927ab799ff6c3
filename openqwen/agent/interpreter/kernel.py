"""One Jupyter kernel in one sandbox: started, connected, asked, interrupted, ended.

    kernel = Kernel(box, folder, sockets, config)
    reply = kernel.execute("6 * 7", collector, deadline)     # "ok", "error", "timeout", "died" …

Messages go over Unix sockets in the session's folder (`ipc`): no TCP port is opened. jupyter-client
signs, packs and unpacks them, as JSON only. The kernel is not trusted. Sockets are connected before
any code of others has run and never again, so that a link put in their place later leads nowhere;
sizes (relay.py) and queues are bounded; a message that can't be read is passed over; sending to a
kernel that took its sockets away ends after a time.
"""

import contextlib
import json
import os
import secrets
import socket
import stat
import subprocess
import time
from pathlib import Path
from typing import Any, Literal

from openqwen.agent.interpreter.collect import Collector
from openqwen.agent.interpreter.config import InterpreterConfig
from openqwen.agent.interpreter.folder import make_private, write_inside
from openqwen.agent.interpreter.fonts import FONTCONFIG, matplotlib_settings
from openqwen.agent.interpreter.relay import Relay
from openqwen.agent.sandbox.folder import remove_tree
from openqwen.core.errors import UserError

Ending = Literal["ok", "error", "timeout", "output", "lost", "died"]

_CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_QUEUE = 8  # messages that may wait on a channel
_SEND_MS = 1000  # for a message of ours to find its way
_GRACE_S = 3.0  # for a cell to end after an interrupt, and for the last message after a reply


class Kernel:
    """A running kernel with its connections."""

    def __init__(self, box: Any, folder: Path, sockets: Path, config: InterpreterConfig) -> None:
        """Start a kernel in an open sandbox and wait until it answers.

        Args:
            box: what `open_sandbox` yields.
            folder: the sandbox's writable folder, as the host sees it.
            sockets: a folder of our own that the sandbox does not see.
            config: limits.

        Raises:
            UserError: if jupyter-client or ipykernel is missing, or the kernel doesn't start.
        """
        try:
            import ipykernel  # noqa: F401
            import zmq
            from jupyter_client.session import Session
        except ImportError as error:
            raise UserError(
                f"the code interpreter needs {error.name}: pip install 'openqwen[agent]'"
            ) from None
        self._config, self._box = config, box
        self._max_message = config.max_image_bytes * 4 // 3 + 1_000_000
        self._context = zmq.Context()
        self._relays: list[Relay] = []
        self._sockets = sockets
        key = secrets.token_hex(32)
        self._session = Session(key=key.encode(), packer="json", unpacker="json")
        self._private = make_private(folder, f".k{secrets.token_hex(4)}")
        name = self._private.name
        connection = _connection(f"{box.inside}/{name}", key)
        write_inside(folder, f"{name}/connection.json", json.dumps(connection).encode())
        write_inside(folder, f"{name}/mpl/matplotlibrc", matplotlib_settings().encode())
        write_inside(folder, f"{name}/fonts.conf", FONTCONFIG.encode())
        self.process: subprocess.Popen[bytes] = box.start(
            _command(f"{box.inside}/{name}"), stderr=subprocess.PIPE
        )
        try:
            self._connect(time.monotonic() + config.start_timeout_s)
        except BaseException:
            self.stop()
            raise

    def execute(self, code: str, collector: Collector, deadline: float) -> Ending:
        """Run code and gather its output until it ended, `deadline` (monotonic) passed, or it died.

        A call that is stopped is interrupted first; `lost` means that the kernel doesn't listen any
        more and must be replaced.
        """
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        content |= {"user_expressions": {}, "stop_on_error": True}
        asked = self._session.msg("execute_request", content)
        if not self._send(self._shell, asked):
            return "lost"
        ending: Ending = "ok"
        status, silent_since = "", 0.0
        while True:
            status = self._wait(asked["header"]["msg_id"], collector) or status
            if status and collector.is_idle:
                break
            if self.process.poll() is not None:
                return "died"
            if any(relay.is_broken for relay in self._relays):
                return "lost"
            now = time.monotonic()
            if ending == "ok" and (now > deadline or self._wrote_too_much(collector)):
                ending = "timeout" if now > deadline else "output"
                if not self._send(self._control, "interrupt_request"):
                    return "lost"
                deadline = now + _GRACE_S
            elif ending != "ok" and now > deadline:
                return "lost"
            if status:
                silent_since = silent_since or now
                if now > silent_since + _GRACE_S:
                    return "lost"
        if ending != "ok":
            return ending
        return "ok" if status == "ok" and not collector.failed else "error"

    def stop(self) -> None:
        """Kill the kernel and all its processes; close the connections."""
        self._box.kill()
        self._context.destroy(linger=0)
        for relay in self._relays:
            relay.close()
        if self.process.stderr is not None:
            self.process.stderr.close()
        remove_tree(self._private)

    def _connect(self, deadline: float) -> None:
        import zmq

        self._shell = self._open(zmq.DEALER, "shell", deadline)
        self._control = self._open(zmq.DEALER, "control", deadline)
        self._iopub = self._open(zmq.SUB, "iopub", deadline)
        self._iopub.setsockopt(zmq.SUBSCRIBE, b"")
        self._poller = zmq.Poller()
        self._poller.register(self._shell, zmq.POLLIN)
        self._poller.register(self._iopub, zmq.POLLIN)
        while time.monotonic() < deadline:  # a new subscription misses what comes before it
            first = Collector(self._config)
            ending = self.execute(
                first_code(self._box.inside), first, min(deadline, time.monotonic() + 10)
            )
            if ending == "ok" and first.is_idle:
                return
            if ending in ("died", "error"):
                break
        raise UserError(f"the kernel started but does not answer: {self._last_words()}")

    def _open(self, kind: int, channel: str, deadline: float) -> Any:
        """Return a ZeroMQ socket that is led to the kernel's through a relay."""
        import zmq

        there = self._reach(self._path(channel), deadline)
        path = self._sockets / f"{self._private.name}{_CHANNELS.index(channel) + 1}"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(1)
        self._relays.append(Relay(listening, there, self._max_message))
        opened = self._context.socket(kind)
        opened.setsockopt(zmq.LINGER, 0)
        opened.setsockopt(zmq.SNDTIMEO, _SEND_MS)
        opened.setsockopt(zmq.RECONNECT_IVL, -1)
        opened.setsockopt(zmq.MAXMSGSIZE, self._max_message)
        opened.setsockopt(zmq.RCVHWM, _QUEUE)
        opened.connect(f"ipc://{path}")
        return opened

    def _path(self, channel: str) -> str:
        path = f"{self._private}/s-{_CHANNELS.index(channel) + 1}"
        if len(os.fsencode(path)) > 107:
            raise UserError(f"{path} is too long for a Unix socket: use a folder with a short name")
        return path

    def _reach(self, path: str, deadline: float) -> socket.socket:
        """Return a connection to a socket of the kernel's as soon as it listens."""
        while time.monotonic() < deadline and self.process.poll() is None:
            reached = socket.socket(socket.AF_UNIX)
            try:
                if stat.S_ISSOCK(os.lstat(path).st_mode):
                    reached.connect(path)
                    return reached
            except OSError:
                pass
            reached.close()
            time.sleep(0.01)
        raise UserError(f"the code interpreter's kernel did not start: {self._last_words()}")

    def _last_words(self) -> str:
        """Return how the process ended and the last line it wrote."""
        self._box.kill()
        said = b""
        if self.process.stderr is not None:
            with contextlib.suppress(subprocess.TimeoutExpired, ValueError):
                said = self.process.communicate(timeout=5)[1] or b""
        lines = said.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        return f"exit {self.process.poll()}: {lines[-1][:300]}"

    def _wait(self, asked: str, collector: Collector) -> str:
        """Take the messages that are there; return the reply's status if it came."""
        status = ""
        ready = dict(self._poller.poll(50))
        for opened in (self._iopub, self._shell):
            if opened not in ready:
                continue
            for _ in range(_QUEUE):
                message = self._receive(opened, collector)
                if message is None:
                    break
                if message["parent"] != asked:
                    continue
                if opened is self._shell:
                    found = message["content"].get("status") if message["content"] else None
                    status = found if found in ("ok", "error", "aborted") else "error"
                else:
                    collector.take(message["kind"], message["content"], message["size"])
        return status

    def _receive(self, opened: Any, collector: Collector) -> dict[str, Any] | None:
        """Return the next message's parts that matter; None where there is none."""
        import zmq

        try:
            frames = opened.recv_multipart(zmq.NOBLOCK)
        except (zmq.ZMQError, MemoryError):
            return None
        size = sum(map(len, frames))
        collector.received += size  # whoever it is for: it must be read
        found: dict[str, Any] = {"parent": None, "kind": None, "content": None, "size": size}
        try:
            message = self._session.deserialize(self._session.feed_identities(frames)[1])
        except Exception:  # what jupyter-client can't read: forged, too deep, no UTF-8 …
            return found
        parent, content = message.get("parent_header"), message.get("content")
        found["parent"] = parent.get("msg_id") if isinstance(parent, dict) else None
        found["kind"] = message.get("msg_type")
        found["content"] = content if isinstance(content, dict) else None
        return found

    def _send(self, opened: Any, message: Any) -> bool:
        """Send a message; False where the kernel does not take it."""
        import zmq

        try:
            self._session.send(opened, message, {})
        except zmq.ZMQError:
            return False
        return True

    def _wrote_too_much(self, collector: Collector) -> bool:
        return collector.received > self._config.stop_output_bytes


def first_code(folder: str) -> str:
    """Return the trusted code that runs before all other; it leaves no name behind."""
    return f"exec({_inside(f'prepare({folder!r})')!r}, {{'__name__': 'openqwen_inside'}})"


def _inside(call: str) -> str:
    """Return the source of what runs inside, with a call at its end."""
    source = Path(__file__).with_name("inside.py").read_text(encoding="utf-8")
    return f"{source}\n{call}\n"


def _connection(folder: str, key: str) -> dict[str, Any]:
    """Return a connection file: with `ipc`, a port is the end of a socket's path."""
    ports = {f"{name}_port": i + 1 for i, name in enumerate(_CHANNELS)}
    scheme = {"transport": "ipc", "ip": f"{folder}/s", "key": key}
    return ports | scheme | {"signature_scheme": "hmac-sha256", "kernel_name": "openqwen"}


def _command(folder: str) -> list[str]:
    """Return the kernel's command line.

    Python neither looks into the working directory (`-P`) nor starts in it: files that earlier code
    left there are not imported before the connections stand.
    """
    settings = {
        "HOME": "/tmp",
        "IPYTHONDIR": "/tmp/ipython",
        "MPLCONFIGDIR": f"{folder}/mpl",
        "FONTCONFIG_FILE": f"{folder}/fonts.conf",
        "JUPYTER_RUNTIME_DIR": "/tmp/jupyter",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PYTHONUTF8": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    return [
        "/usr/bin/env",
        *(f"{name}={value}" for name, value in settings.items()),
        "python",
        "-P",
        "-c",
        _inside("launch()"),
        "-f",
        f"{folder}/connection.json",
        "--HistoryManager.enabled=False",
        "--InteractiveShell.xmode=Plain",
        "--InteractiveShell.colors=NoColor",
    ]
