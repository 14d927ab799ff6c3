"""Local folders and object stores behind one door: list the files of a path, open one of them.

    store, path = find_store("s3://bucket/crawl")       # or "pages/"
    for entry in store.list(path):
        with store.open(entry.path) as file: ...

Local files are opened by Python itself; s3://, gs://, hdfs:// and what else pyarrow knows go
through its file systems, which take credentials where the store's own tools do.
"""

import io
import os
import stat
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, cast
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from openqwen.core.errors import UserError
from openqwen.core.files import TEMPORARY_SUFFIX

REMOTE_BUFFER_BYTES = 8 << 20  # a request of an object store costs tens of milliseconds
GCS_RETRY_S = 60  # pyarrow's own is 15 minutes, also where the credentials are missing
NOT_A_FILE = "not a regular file"
LINKED_FOLDER = "link to a folder, not followed"
_DENIED = ("ACCESS_DENIED", "PERMISSION_DENIED", "Permission denied")


class StoreError(UserError):
    """An object store that doesn't answer: the run stops there, a later one goes on."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a listing; `name` is relative to it, `trouble` why the file can't be read."""

    path: str
    name: str
    num_bytes: int
    trouble: str = ""


@dataclass(frozen=True)
class Store:
    """Where files live: `uri` "" is this machine, anything else a store of pyarrow's."""

    uri: str = ""

    def open(self, path: str) -> IO[bytes]:
        """Open a file for reading from any place in it.

        Raises:
            OSError: no such file, no permission, or no regular file (a pipe would wait for ever).
            StoreError: the store doesn't answer.
        """
        if not self.uri:
            return _open_local(path)
        filesystem, _ = _connect(self.uri)
        try:
            native = filesystem.open_input_file(path)
        except (OSError, pa.ArrowException) as error:
            raise _as_found(self.uri, path, error) from None
        raw = _Remote(native, f"{self.uri}: {path}")
        return cast(IO[bytes], io.BufferedReader(raw, REMOTE_BUFFER_BYTES))

    def num_bytes(self, path: str) -> int:
        """Return a file's size in bytes; raises as `open` does."""
        if not self.uri:
            return os.stat(path).st_size
        with self.open(path) as file:
            return file.seek(0, io.SEEK_END)

    def list(self, path: str) -> tuple[list[Entry], bool]:
        """Return the files at or below a path, in sorted order, and whether it is a folder.

        What can't be read (a folder without permission, a pipe, a linked folder) is in the list
        with its trouble. Temporary files of ours are left out.

        Raises:
            UserError: there is nothing at the path.
            StoreError: the store doesn't answer.
        """
        if self.uri:
            return _list_remote(self.uri, path)
        if os.path.isdir(path):
            return sorted(_walk(path, ""), key=_order), True
        if not os.path.lexists(path):
            raise UserError(f"{path} does not exist; give a file, a folder or a URI")
        return [_entry(path, os.path.basename(path))], False


@dataclass(frozen=True, slots=True)
class InputFile:
    """One file of a store."""

    store: Store
    path: str

    @property
    def kind(self) -> str:
        """Return the ending of its name in lower case, without .gz: ".jsonl"."""
        return os.path.splitext(self.path.lower().removesuffix(".gz"))[1]

    @property
    def is_gzipped(self) -> bool:
        """Return whether its name says that it is gzipped."""
        return self.path.lower().endswith(".gz")

    def open(self) -> IO[bytes]:
        """Open it as it is; raises as `Store.open` does."""
        return self.store.open(self.path)


def find_store(path: str) -> tuple[Store, str]:
    """Return the store of a path or URI, and the path as the store knows it.

    Raises:
        UserError: a URI of an unknown kind, a store that can't be reached, missing credentials.
    """
    if not is_uri(path):
        return Store(), str(Path(path).expanduser())
    return Store(path), _connect(path)[1]


def is_uri(path: str) -> bool:
    """Return whether a path names an object store."""
    return "://" in path


@lru_cache(maxsize=64)
def _connect(uri: str) -> tuple[fs.FileSystem, str]:
    """Return the file system of a URI and the path in it; one connection a process."""
    asked = uri
    if urlsplit(uri).scheme in ("gs", "gcs") and "retry_limit_seconds" not in uri:
        asked += f"{'&' if '?' in uri else '?'}retry_limit_seconds={GCS_RETRY_S}"
    try:
        filesystem, path = fs.FileSystem.from_uri(asked)
    except pa.ArrowInvalid as error:
        raise UserError(
            f"{uri} can't be read: {_first_line(error)}; known are s3://, gs://, hdfs://, abfs:// "
            "and file://"
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise _unreachable(uri, error) from None
    return filesystem, path


def _list_remote(uri: str, path: str) -> tuple[list[Entry], bool]:
    filesystem, _ = _connect(uri)
    try:
        info = filesystem.get_file_info(path)
        if info.type == fs.FileType.NotFound:
            raise UserError(f"{uri} does not exist; give a file or a folder of the store")
        if info.type == fs.FileType.File:
            return [Entry(info.path, info.base_name, info.size)], False
        found = filesystem.get_file_info(fs.FileSelector(path, recursive=True))
    except (OSError, pa.ArrowException) as error:
        raise _unreachable(uri, error) from None
    root = path.rstrip("/") + "/" if path else ""
    entries = [
        Entry(info.path, info.path.removeprefix(root), info.size)
        for info in found
        if info.type != fs.FileType.Directory and not info.path.endswith(TEMPORARY_SUFFIX)
    ]
    return sorted(entries, key=_order), True


def _walk(folder: str, prefix: str) -> list[Entry]:
    """Return what lies below a folder, one level after another: no depth ends the stack."""
    entries, waiting = [], [(folder, prefix)]
    while waiting:
        folder, prefix = waiting.pop()
        try:
            with os.scandir(folder) as found:
                for item in found:
                    name = prefix + item.name
                    if item.is_dir(follow_symlinks=False):
                        waiting.append((item.path, name + "/"))
                    elif not name.endswith(TEMPORARY_SUFFIX):
                        entries.append(_entry(item.path, name))
        except OSError as error:
            entries.append(Entry(folder, prefix.rstrip("/") or ".", 0, _reason(error)))
    return entries


def _entry(path: str, name: str) -> Entry:
    """Return the entry of a local path that is no folder of its own."""
    try:
        found = os.stat(path)
    except OSError as error:  # a link to nowhere, or in a circle
        return Entry(path, name, 0, _reason(error))
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, name, 0, LINKED_FOLDER)
    if not stat.S_ISREG(found.st_mode):
        return Entry(path, name, 0, NOT_A_FILE)
    return Entry(path, name, found.st_size)


def _open_local(path: str) -> IO[bytes]:
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(NOT_A_FILE)
    return open(handle, "rb")


class _Remote(io.RawIOBase):
    """A file of pyarrow's as Python's own kind; a store that fails in the middle stops the run."""

    def __init__(self, native: pa.NativeFile, where: str) -> None:
        self.native, self.where = native, where

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return int(self.native.seek(offset, whence))

    def tell(self) -> int:
        return int(self.native.tell())

    def readinto(self, buffer: object) -> int:
        try:
            return int(self.native.readinto(buffer))
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"{self.where} can't be read on: {_first_line(error)}") from None

    def close(self) -> None:
        if not self.closed:
            self.native.close()
        super().close()


def _as_found(uri: str, path: str, error: Exception) -> Exception:
    """Return an OSError where one file is at fault, a StoreError where the store is."""
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return error
    if any(word in str(error) for word in _DENIED):
        return PermissionError(f"no permission: {path}")
    return _unreachable(uri, error)


def _unreachable(uri: str, error: Exception) -> StoreError:
    return StoreError(
        f"{uri} can't be reached: {_first_line(error)}; check its name, the network and the "
        "credentials in the place where the store's own tools look for them"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _reason(error: OSError) -> str:
    return f"can't be opened: {error.strerror or error}"


def _order(entry: Entry) -> list[str]:
    return entry.name.split("/")
