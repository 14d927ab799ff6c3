"""Functions that tests give to the engines."""

import os
import signal
from pathlib import Path

from openqwen.core.errors import UserError


def square(folder: Path, number: int) -> dict[str, int]:
    """Write and return a square; count how often it was asked."""
    with (folder.parent / f"asked-{number}").open("a") as file:
        file.write("x")
    (folder / "square.txt").write_text(str(number**2))
    return {"square": number**2}


def die(folder: Path, number: int, times: int) -> dict[str, int]:
    """End the worker as the system would, `times` times, half a file written; then be well."""
    deaths = folder.parent / f"deaths-{number}"
    before = len(deaths.read_text()) if deaths.exists() else 0
    if before < times:
        deaths.write_text("x" * (before + 1))
        (folder / "half.txt").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)
    return square(folder, number)


def refuse(folder: Path) -> dict[str, int]:
    """Find fault with the user's input."""
    raise UserError("my.warc: nothing in it")


def stumble(folder: Path) -> dict[str, int]:
    """Be wrong."""
    raise KeyError("a defect")
