"""Room for what training writes: known before it starts, told in one line where it runs out.

require_room(out, needed_bytes, "base: 3 checkpoints and the export", fix="…")
with telling_full_disk("base: checkpoint 120 was not written", out, then="; …"): save(…)
"""

import contextlib
import errno
import os
import re
import resource
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor

from openqwen.core.errors import UserError

USERS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM)
_OS_ERROR = re.compile(r"os error (\d+)")


def state_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the size of a trainer's checkpoint; moments that aren't there yet are counted."""
    total = 0
    for name, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        moments = name.replace("master.", "exp_avg.", 1)
        is_new = "master." in name and moments not in tensors
        total += 3 * size if is_new else size
    return total


def master_bytes(tensors: Mapping[str, Tensor]) -> int:
    """Return the size of the trained weights in float32: an export is at most that."""
    return sum(t.numel() * t.element_size() for name, t in tensors.items() if "master." in name)


def directory_bytes(directory: Path) -> int:
    """Return the bytes of all files below a directory, a file linked twice counted once."""
    found = {}
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.lstat()
            if path.is_file():
                found[(stat.st_dev, stat.st_ino)] = stat.st_size
    return sum(found.values())


def require_room(
    directory: Path, needed: int, what: str, *, largest_file: int = 0, fix: str
) -> None:
    """Make sure that a directory can be written and has room.

    Args:
        directory: made if missing.
        needed: bytes that will be written at most, beside what is there already.
        what: what needs them, opens the line.
        largest_file: bytes of the largest single file.
        fix: closes the line.

    Raises:
        UserError: with needed and free bytes, or why nothing can be written.
    """
    with telling_full_disk(f"{what}: {directory} can't be written", directory):
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=directory, prefix=".can-write-", suffix=".partial"):
            pass
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"{what} need {needed:,} bytes, {free:,} are free in {directory}: make room, name "
            f"another directory{fix}"
        )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < largest_file:
        raise UserError(
            f"{what}: one file has {largest_file:,} bytes, this process may write {limit:,} "
            "(ulimit -f): raise the limit and run again"
        )


@contextlib.contextmanager
def telling_full_disk(what: str, directory: Path, *, then: str = "") -> Iterator[None]:
    """Turn a write's failure for want of room or permission into one line that says what stays.

    Args:
        what: what was not written.
        directory: whose free bytes are told.
        then: what stays and what is to be done, closes the line.

    Raises:
        UserError: in place of such an OSError (or the safetensors library's); others pass.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        number = error.errno if isinstance(error, OSError) else _number(str(error))
        if number not in USERS:
            raise
        free = ""
        if number in (errno.ENOSPC, errno.EDQUOT):
            with contextlib.suppress(OSError):
                free = f", {shutil.disk_usage(directory).free:,} bytes are free"
        raise UserError(f"{what}: {os.strerror(number)}{free}{then}") from None


def _number(text: str) -> int:
    """Return the system's error number in a message of the safetensors library, 0 without one."""
    found = _OS_ERROR.search(text)
    return int(found[1]) if found else 0
