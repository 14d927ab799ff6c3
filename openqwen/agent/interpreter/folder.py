"""Files in a folder that untrusted code writes to, read and written without following its links.

write_inside(folder, "in/table.csv", data)
data = read_inside(folder, "figure.png", max_bytes=1_000_000)
list_inside(folder)                          # name -> bytes

Every part of a path is opened from its parent's handle and may not be a symbolic link, so that a
link made or swapped in at any moment leads nowhere. Devices, pipes and hard links are no files.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from openqwen.agent.sandbox.folder import open_own, walk
from openqwen.core.errors import UserError

HIDDEN = "."  # names with this start are the session's own, or nobody's business
MAX_ENTRIES = 20_000


def check_name(name: str) -> PurePosixPath:
    """Return a relative path below the folder.

    Raises:
        UserError: if it is empty, absolute, holds `..` or a NUL.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        raise UserError(f"{name!r} is no file name inside the session's folder")
    return path


def read_inside(folder: Path, name: str, max_bytes: int) -> bytes:
    """Return a file's bytes.

    Raises:
        UserError: if there is no such plain file, a link leads to it, or it is larger.
    """
    path = check_name(name)
    with _parent(folder, path, make=False) as parent:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            handle = os.open(path.name, flags, dir_fd=parent)
        except OSError as error:
            raise UserError(f"{name}: {error.strerror} (links are not followed)") from None
    with os.fdopen(handle, "rb") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise UserError(f"{name} is no plain file")
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UserError(f"{name} is larger than {max_bytes:,} bytes")
    return data


def write_inside(folder: Path, name: str, data: bytes) -> None:
    """Write a file that belongs to the folder's owner, in place of whatever has that name.

    Raises:
        UserError: if the name leads out of the folder, through a link, or is a directory.
    """
    path = check_name(name)
    owner = folder.stat()
    with _parent(folder, path, make=True) as parent:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path.name, dir_fd=parent)
            handle = os.open(path.name, flags, 0o644, dir_fd=parent)
        except OSError as error:
            raise UserError(f"{name}: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        _give(handle, owner)


def list_inside(folder: Path, limit: int = MAX_ENTRIES) -> dict[str, tuple[int, int]]:
    """Return name -> (bytes, time of change in ns) of plain files, hidden ones left out.

    What lies deeper than 32 folders, or in folders closed to us, is left out as well.
    """
    found: dict[str, tuple[int, int]] = {}
    with _top(folder) as handle:
        for entry in walk(handle, most=MAX_ENTRIES):
            if len(found) >= limit:
                break
            is_hidden = any(part.startswith(HIDDEN) for part in entry.name.split("/"))
            if is_hidden or not stat.S_ISREG(entry.mode):
                continue
            with contextlib.suppress(OSError):
                status = os.stat(entry.last, dir_fd=entry.where, follow_symlinks=False)
                shown = entry.name.encode("utf-8", "replace").decode()
                found[shown] = (status.st_size, status.st_mtime_ns)
    return found


def make_private(folder: Path, name: str) -> Path:
    """Return a new directory in the folder that belongs to the folder's owner."""
    owner = folder.stat()
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY
    with _top(folder) as parent:
        os.mkdir(name, mode=0o700, dir_fd=parent)
        handle = os.open(name, flags, dir_fd=parent)
        try:
            _give(handle, owner)
        finally:
            os.close(handle)
    return folder / name


@contextlib.contextmanager
def _top(folder: Path) -> Iterator[int]:
    """Yield a handle of the session's folder itself; code in it may have closed it to us."""
    parent = os.open(folder.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = open_own(parent, folder.name)
    finally:
        os.close(parent)
    try:
        yield handle
    finally:
        os.close(handle)


@contextlib.contextmanager
def _parent(folder: Path, path: PurePosixPath, *, make: bool) -> Iterator[int]:
    """Yield a handle of the directory that a path lies in, reached without any link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    owner = folder.stat()
    with _top(folder) as top:
        handle = os.dup(top)
    try:
        for part in path.parts[:-1]:
            try:
                if make:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(part, 0o755, dir_fd=handle)
                following = os.open(part, flags, dir_fd=handle)
            except OSError as error:
                raise UserError(f"{path}: {part}: {error.strerror}") from None
            os.close(handle)
            handle = following
            if make:
                _give(handle, owner)
        yield handle
    finally:
        os.close(handle)


def _give(handle: int, owner: os.stat_result) -> None:
    """Make a file the folder's owner's, so that the sandbox may change it."""
    if os.fstat(handle).st_uid != owner.st_uid:
        os.fchown(handle, owner.st_uid, owner.st_gid)
