"""One process at a time in a directory: a lock file that the system frees when its process ends.

with locked(out): ...
"""

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from openqwen.core.errors import UserError

LOCK_NAME = ".lock"


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold a directory, made if missing, for this process.

    Raises:
        UserError: if another process holds it, or it can't be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / LOCK_NAME).open("w")
    except OSError as error:
        raise UserError(f"{directory} can't be written: {error.strerror}") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UserError(f"{directory} is in use by another openqwen process") from None
        yield
