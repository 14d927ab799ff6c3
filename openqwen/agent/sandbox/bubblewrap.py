"""Bubblewrap, the program that sets a sandbox's namespaces and mounts up: found, or fetched.

    find_bubblewrap()       # Path("/usr/bin/bwrap"), from Debian's package where there is none

The package is unpacked into the cache, not installed: bubblewrap needs no privilege of its own
where the kernel lets users make user namespaces.
"""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from openqwen.core.archives import unpack_archive
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_debian
from openqwen.core.runtime import cache_directory

OLDEST = (0, 7)  # the first with --size
INSTALL = "apt-get install bubblewrap (dnf and pacman call it so too)"


@functools.cache
def find_bubblewrap() -> Path:
    """Return bubblewrap's program: on the path, in the cache, or fetched into the cache.

    Raises:
        UserError: where there is none, it can't be fetched, or it is too old or doesn't start.
    """
    found = shutil.which("bwrap")
    path = Path(found) if found else _fetched()
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise UserError(f"{path} does not start ({error}); install it: {INSTALL}") from None
    version = tuple(int(part) for part in re.findall(r"\d+", answer)[:2])
    if version < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise UserError(f"{path} is {answer.strip()}, the sandbox needs {needed} or newer")
    return path


def has_bubblewrap() -> bool:
    """Return whether it is on the path or in the cache, so that nothing would be fetched."""
    return (
        shutil.which("bwrap") is not None or (cache_directory() / "bubblewrap" / "bwrap").is_file()
    )


def _fetched() -> Path:
    """Return the program from Debian's package, unpacked into the cache."""
    folder = cache_directory() / "bubblewrap"
    program = folder / "bwrap"
    if program.is_file() and os.access(program, os.X_OK):
        return program
    try:
        archive = fetch_debian("bubblewrap")
    except UserError as error:
        raise UserError(
            f"the sandbox needs bubblewrap, which is not here and can't be fetched ({error}); "
            f"install it: {INSTALL}"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as name:  # whole or not there, for all processes
        unpacked = Path(name, "package")
        unpack_archive(archive.path, unpacked, ("*usr/bin/bwrap",))
        found = [path for path in unpacked.rglob("bwrap") if path.is_file()]
        if not found:
            raise UserError(f"{archive.path} has no usr/bin/bwrap; install it: {INSTALL}")
        found[0].chmod(0o755)
        found[0].replace(program)
    return program
