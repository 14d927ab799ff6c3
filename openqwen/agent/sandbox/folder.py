"""Files into a sandbox's folder and out of it, without following what a program left there.

Everything goes through an open folder and names below it, one level at a time, never through a
symbolic link; only regular files come out, of bounded size and number.
"""

import contextlib
import fnmatch
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from openqwen.core.errors import UserError

DEEPEST = 32
MOST_ENTRIES = 100_000
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_OLD_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


def put_files(folder: int, files: Mapping[str, bytes], user: int | None = None) -> None:
    """Write files below an open folder; one that is there is replaced, a link is not followed.

    Args:
        folder: descriptor of the folder.
        files: content by relative name; folders are made.
        user: who shall own them, where root writes for another.

    Raises:
        UserError: if a name leads out of the folder or stands in a file's or link's way.
    """
    for name, content in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\0" in name:
            raise UserError(f"a file for the sandbox is named {name!r}; use a relative name")
        try:
            _put(folder, parts, content, user)
        except OSError as error:
            raise UserError(f"{name} can't be put into the sandbox: {error.strerror}") from None


def _put(folder: int, parts: Sequence[str], content: bytes, user: int | None) -> None:
    """Write one file, given by the parts of its name."""
    opened: list[int] = []
    try:
        here = folder
        for part in parts[:-1]:
            try:
                os.mkdir(part, 0o755, dir_fd=here)
                if user is not None:
                    os.chown(part, user, user, dir_fd=here, follow_symlinks=False)
            except FileExistsError:
                pass
            here = os.open(part, _FOLDER, dir_fd=here)
            opened.append(here)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(parts[-1], dir_fd=here)
        file = os.open(parts[-1], _NEW_FILE, 0o644, dir_fd=here)
        opened.append(file)
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
        if user is not None:
            os.fchown(file, user, user)
    finally:
        for handle in opened:
            os.close(handle)


def take_files(
    folder: int, patterns: Sequence[str], *, max_bytes: int, max_files: int
) -> dict[str, bytes]:
    """Return the regular files below an open folder whose names match a pattern.

    Links, pipes, sockets, devices, other file systems and what lies deeper than 32 folders are
    passed over. Files come in the order of their names until a bound is met.

    Args:
        folder: descriptor of the folder.
        patterns: as for fnmatch, on names relative to the folder; "*" also crosses folders.
        max_bytes: bound of all files together; what would exceed it is left out.
        max_files: bound of their number.
    """
    taken: dict[str, bytes] = {}
    room = max_bytes
    if not patterns:
        return taken
    for entry in walk(folder):
        if len(taken) >= max_files:
            break
        wanted = any(fnmatch.fnmatchcase(entry.name, pattern) for pattern in patterns)
        if not wanted or not stat.S_ISREG(entry.mode):
            continue
        content = _read(entry.where, entry.last, room)
        if content is not None:
            taken[entry.name] = content
            room -= len(content)
    return dict(sorted(taken.items()))


def _read(where: int, name: str, most: int) -> bytes | None:
    """Return a regular file's bytes, None if it is something else or too large."""
    try:
        handle = os.open(name, _OLD_FILE, dir_fd=where)
    except OSError:
        return None
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_size > most:
            return None
        with os.fdopen(os.dup(handle), "rb") as file:
            content = file.read(most + 1)
        return content if len(content) <= most else None
    except OSError:
        return None
    finally:
        os.close(handle)


class Entry(NamedTuple):
    """One name below a folder.

    Attributes:
        name: relative to the folder walked.
        where: descriptor of the folder it stands in, valid until the next entry is asked for.
        last: last part of the name.
        mode: its type and permissions, of a link its own.
    """

    name: str
    where: int
    last: str
    mode: int


def walk(folder: int, *, most: int = MOST_ENTRIES) -> Iterator[Entry]:
    """Yield what lies below an open folder, on its file system, at most 32 folders deep."""
    yield from _walk(folder, "", os.fstat(folder).st_dev, 0, [most])


def _walk(here: int, prefix: str, device: int, depth: int, budget: list[int]) -> Iterator[Entry]:
    """Walk one folder; `budget` counts the entries that may still be looked at."""
    try:
        names = sorted(os.listdir(here))
    except OSError:
        return
    for name in names:
        budget[0] -= 1
        if budget[0] < 0:
            return
        try:
            facts = os.stat(name, dir_fd=here, follow_symlinks=False)
        except OSError:
            continue
        if facts.st_dev != device:
            continue
        yield Entry(prefix + name, here, name, facts.st_mode)
        if stat.S_ISDIR(facts.st_mode) and depth < DEEPEST:
            try:
                below = os.open(name, _FOLDER, dir_fd=here)
            except OSError:
                continue
            try:
                yield from _walk(below, f"{prefix}{name}/", device, depth + 1, budget)
            finally:
                os.close(below)


def hand_over(folder: int, user: int) -> None:
    """Give an open folder and all in it to a user; links themselves, never what they name."""
    os.fchown(folder, user, user)
    for entry in walk(folder):
        with contextlib.suppress(FileNotFoundError):
            os.chown(entry.last, user, user, dir_fd=entry.where, follow_symlinks=False)


@contextlib.contextmanager
def own_folder(prefix: str, where: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder of the host for a sandbox to write to; it is removed afterwards.

    It stands in a folder of ours: code inside may open its own folder to all, but others on the
    machine don't pass the one above, so that no program left there, set-user-id say, is theirs.
    """
    above = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
    try:
        folder = above / "work"
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        remove_tree(above)


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, however deep and closed; nothing may run in it any more.

    Folders are moved up until they are empty, so that neither the depth of calls nor the number of
    open files grows with theirs. What can't be removed is left.
    """
    with contextlib.suppress(OSError):
        parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            top = open_own(parent, path.name)
            try:
                while below := _remove_files(top):
                    for name in below:
                        _move_up(top, name)
            finally:
                os.close(top)
            os.rmdir(path.name, dir_fd=parent)
        finally:
            os.close(parent)


def _move_up(top: int, name: str) -> None:
    """Remove one folder below an open one; the folders in it come to stand beside it."""
    here = open_own(top, name)
    try:
        for inner in _remove_files(here):
            os.close(open_own(here, inner))  # it must be open to be moved
            os.rename(inner, secrets.token_hex(16), src_dir_fd=here, dst_dir_fd=top)
    finally:
        os.close(here)
    os.rmdir(name, dir_fd=top)


def _remove_files(folder: int) -> list[str]:
    """Remove all that stands in an open folder but folders; return their names."""
    names = os.listdir(folder)
    folders = []
    for name in names:
        if stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            folders.append(name)
        else:
            os.unlink(name, dir_fd=folder)
    return folders


def open_own(parent: int, name: str) -> int:
    """Open a folder by name, making it accessible to its owner first; never a link."""
    handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        if os.fstat(handle).st_mode & 0o700 != 0o700:
            os.chmod(f"/proc/self/fd/{handle}", 0o700)
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_DIRECTORY)
    finally:
        os.close(handle)
