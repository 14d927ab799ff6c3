"""The chat page in a real browser: servers to open it from, and what a person does there."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from tiny_exports import reciting_model, write, write_reciting

BREAK = 10  # the line break that a prompt ends with: what the models answer
ANSWER = "Hi, you!"  # bytes that are distinct, as reciting needs
CONTEXT = 8192
WAIT_MS = 30_000


def write_models(folder):
    """A configuration of two small models: `m` says ANSWER, `endless` says ababab…"""
    write_reciting(folder / "m", ANSWER, train_length=CONTEXT)
    a, b = b"ab"
    write(folder / "endless", reciting_model([BREAK, a, b, a], train_length=CONTEXT))
    path = folder / "serve.toml"
    tables = [f'[[model]]\npath = "{folder / name}"\n' for name in ("m", "endless")]
    path.write_text('[server]\ntools = ["calculator", "plot", "python"]\n' + "\n".join(tables))
    return path


class ChatServer:
    """`openqwen serve` in a process of its own; with a script as `chat_server.py` reads it."""

    def __init__(self, *arguments, port=0, script=None):
        program = Path(__file__).parent / "chat_server.py"
        more = [] if script is None else ["--script", script]
        command = [sys.executable, program, *arguments, "--port", port, *more]
        self.process = subprocess.Popen(
            [str(each) for each in command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        self.lines, self.port = [], None
        self._is_ready = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()
        if not self._is_ready.wait(60) or self.port is None:
            self.process.kill()
            raise AssertionError("\n".join(self.lines))

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def metric(self, name):
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def wait_for(self, condition, seconds=15.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it did not come to pass:\n" + "\n".join(self.lines)
            time.sleep(0.1)

    def is_idle(self):
        return self.metric("openqwen_running") == 0 == self.metric("openqwen_kv_used_bytes")

    def work(self):
        """Return how many replies run, and how many requests wait."""
        return self.metric("openqwen_running"), self.metric("openqwen_waiting")

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.kill()

    def _read(self):
        for line in self.process.stderr:
            self.lines.append(line.rstrip())
            found = re.search(r"serving at http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found[1])
                self._is_ready.set()
        self._is_ready.set()


class ChatPage:
    """The page as a person uses it; remembers what was asked from where, and errors."""

    def __init__(self, browser, server, *, talks=(), choices=None, **options):
        self.server = server
        self.context = browser.new_context(viewport=options.pop("viewport", None) or
                                           {"width": 1200, "height": 800}, **options)  # fmt: skip
        self.context.set_default_timeout(WAIT_MS)
        self.outside, self.errors = [], []
        self.page = self.context.new_page()
        self.context.on("request", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        stored = {f"openqwen.chat.talk.{talk['id']}": json.dumps(talk) for talk in talks}
        if talks:
            stored["openqwen.chat.current"] = talks[0]["id"]
        stored["openqwen.chat.choices"] = json.dumps(choices or {})
        script = "for (const [k, v] of Object.entries(%s)) localStorage.getItem(k) ?? "
        self.page.add_init_script((script + "localStorage.setItem(k, v)") % json.dumps(stored))
        self.open()

    def open(self):
        self.page.goto(f"{self.server.url}/chat/")
        self.wait_ready()

    def wait_ready(self):
        self.page.wait_for_selector("#oq-box textarea:enabled")
        self.page.wait_for_selector("#oq-new", state="attached")

    def ask(self, text):
        self.page.fill("#oq-box textarea", text)
        self.page.press("#oq-box textarea", "Enter")

    def wait_answered(self):
        """Wait until an answer has ended and the browser keeps it."""
        self.page.wait_for_function(
            "() => { const talk = JSON.parse(localStorage.getItem('openqwen.chat.talk.' + "
            "localStorage.getItem('openqwen.chat.current')));"
            "return talk && talk.messages.at(-1).ending }"
        )
        self.page.wait_for_selector("#oq-send", state="visible")

    def wait_kept(self, text):
        """Wait until the browser keeps a text in this conversation."""
        self.page.wait_for_function(
            "(text) => localStorage.getItem('openqwen.chat.talk.' + "
            "localStorage.getItem('openqwen.chat.current'))?.includes(text)",
            arg=text,
        )

    def talk(self):
        """Return the conversation as the browser keeps it."""
        return json.loads(
            self.page.evaluate(
                "localStorage.getItem('openqwen.chat.talk.' + "
                "localStorage.getItem('openqwen.chat.current'))"
            )
        )

    def text(self):
        return self.page.inner_text("#oq-chat")

    def close(self):
        """Leave; nothing may have been asked outside, no script may have failed."""
        self.context.close()
        assert self.outside == []
        assert self.errors == []

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.close()
        else:
            self.context.close()

    def _note(self, request):
        if not request.url.startswith((self.server.url, "data:", "blob:")):
            self.outside.append(request.url)


def message(role, content, **more):
    return {"role": role, "content": content} | more
