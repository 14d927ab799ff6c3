"""Small real models to serve, in this process or in one of their own."""

import contextlib
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from tiny_exports import reciting_model, write

from openqwen.serve.app import build_app
from openqwen.serve.config import ModelConfig, ServeConfig
from openqwen.serve.logs import JsonLog
from openqwen.serve.models import open_models

CONTEXT = 8192
ENDLESS = "ab"  # what the endless model says, over and over


def write_endless(directory, *, context=CONTEXT):
    """An export that answers anything that ends with `a` by `bababa…`, and never ends."""
    a, b = ENDLESS.encode()
    model = reciting_model([a, b, a], train_length=context)
    return write(directory, model)


class Lines:
    """A stream for `JsonLog` that keeps what is written."""

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def events(self, event="request"):
        found = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in found if line["event"] == event]


@contextlib.contextmanager
def small_app(*directories, config=None, lines=None, **model):
    """The application on models of these directories; ends their workers afterwards."""
    config = (config or ServeConfig()).model_copy(update={"chat": False})
    log = JsonLog(lines or Lines())
    entries = [ModelConfig(path=str(path), **model) for path in directories]
    models = open_models(entries, config, report=log.failure)
    try:
        yield build_app(models, config, log=log)
    finally:
        models.close()


class ServerProcess:
    """`openqwen serve` as a user starts it, on a free port; with `/v1/say` where asked for."""

    def __init__(self, *arguments, port=0, says=False, chat=False):
        here = Path(__file__).parent
        program = [str(here / "say_server.py")] if says else ["-m", "openqwen", "serve"]
        options = ["--port", str(port), *([] if chat else ["--no-chat"])]
        self.process = subprocess.Popen(
            [sys.executable, *program, *map(str, arguments), *options],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines = []  # of standard error
        self._ready = threading.Event()
        self.port = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(60) or self.port is None:
            self.stop(signal.SIGKILL)
            raise AssertionError("\n".join(self.lines))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"serving at http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found.group(1))
                self._ready.set()
        self._ready.set()

    def events(self, event="request"):
        found = [json.loads(line) for line in list(self.lines) if line.startswith("{")]
        return [line for line in found if line["event"] == event]

    def metric(self, name):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            text = response.read().decode()
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def wait_for(self, condition, seconds=20.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come to pass:\n" + "\n".join(self.lines)
            time.sleep(0.05)

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def stop(self, number=signal.SIGTERM, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join(10)
        return code

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop(signal.SIGKILL)
        for error in self.events("error"):  # shown where the test fails
            print(error["message"], error["traceback"])
