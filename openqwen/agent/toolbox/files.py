"""Reading files of one folder, and nothing outside it.

    folder = Folder(Path("notes"))
    folder.list("")                  # "a.md (1.2 kB)\\nplans/"
    folder.read("plans/b.txt")

Links that lead outside, devices and pipes are refused; large files are read piece by piece.
"""

import os
import stat
from pathlib import Path

from openqwen.agent.tools import Tool, ToolError, tool
from openqwen.core.errors import UserError
from openqwen.core.log import format_bytes

MAX_BYTES = 8000  # of one reading
MAX_LISTED = 200


class FolderError(ToolError):
    """A path that can't be read: one line for the model."""


class Folder:
    """One folder as all that a tool may see."""

    def __init__(self, root: Path) -> None:
        """Take the folder.

        Raises:
            UserError: if it is none.
        """
        if not root.is_dir():
            raise UserError(f"--folder {root} is no folder")
        self.root = root.resolve()

    def find(self, path: str) -> Path:
        """Return the real path of something inside the folder.

        Raises:
            FolderError: if it is outside, not there, or no path.
        """
        if "\0" in path:
            raise FolderError("a path can't hold a NUL character")
        try:
            found = (self.root / path.strip().lstrip("/")).resolve()
            is_there = found.exists()
        except (OSError, RuntimeError) as error:  # too long, or links in a circle
            reason = getattr(error, "strerror", None) or str(error)
            raise FolderError(f"{path[:80]!r} can't be read: {reason}") from None
        if not found.is_relative_to(self.root):
            raise FolderError(f"{path!r} leads outside the folder")
        if not is_there:
            raise FolderError(f"{path!r} is not there; list_files shows what is")
        return found

    def list(self, path: str = "") -> str:
        """Return the names in a folder, a line each, with sizes; folders end in a slash."""
        folder = self.find(path)
        if not folder.is_dir():
            raise FolderError(f"{path!r} is a file; read_file reads it")
        lines = []
        for entry in sorted(os.scandir(folder), key=lambda each: each.name):
            if entry.is_dir(follow_symlinks=False):
                lines.append(f"{entry.name}/")
            elif entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                lines.append(f"{entry.name} ({format_bytes(size)})")
        more = f"\n… and {len(lines) - MAX_LISTED:,} more" if len(lines) > MAX_LISTED else ""
        return "\n".join(lines[:MAX_LISTED]) + more or "the folder is empty"

    def read(self, path: str, offset: int = 0) -> str:
        """Return text of a file from a byte on, at most `MAX_BYTES`; says what is left."""
        found = self.find(path)
        if found.is_dir():
            raise FolderError(f"{path!r} is a folder; list_files shows what is in it")
        # opened without waiting: a pipe that nobody writes to would never return
        handle = os.open(found, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(handle, "rb") as file:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise FolderError(f"{path!r} is no regular file")
            file.seek(max(0, offset))
            data = file.read(MAX_BYTES)
        if b"\0" in data:
            size = format_bytes(status.st_size)
            raise FolderError(f"{path!r} is not a text ({size}); it can't be shown")
        end = max(0, offset) + len(data)
        text = data.decode("utf-8", errors="replace")
        if end < status.st_size:
            text += f"\n… {status.st_size - end:,} bytes follow: read on with offset {end}"
        return text or "the file is empty"


def file_tools(root: Path) -> list[Tool]:
    """Return the tools `list_files` and `read_file` for one folder.

    Raises:
        UserError: if it is no folder.
    """
    folder = Folder(root)

    def list_files(path: str = "") -> str:
        """List the files of the user's folder.

        Args:
            path: a folder inside it; empty for the folder itself
        """
        return folder.list(path)

    def read_file(path: str, offset: int = 0) -> str:
        """Read a text file of the user's folder.

        Args:
            path: the file, as list_files names it
            offset: the byte to begin at, for a file too long to be read at once
        """
        return folder.read(path, offset)

    return [tool(list_files), tool(read_file)]
