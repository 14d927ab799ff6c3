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
from pathlib import Path

from openqwen.core.archives import unpack_archive
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_debian
from openqwen.core.files import empty_directory
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


def _fetched() -> Path:
    """Return the program from Debian's package, unpacked into the cache."""
    folder = cache_directory() / "bubblewrap"
    program = folder / "usr" / "bin" / "bwrap"
    if program.is_file() and os.access(program, os.X_OK):
        return program
    try:
        archive = fetch_debian("bubblewrap")
    except UserError as error:
        raise UserError(
            f"the sandbox needs bubblewrap, which is not here and can't be fetched ({error}); "
            f"install it: {INSTALL}"
        ) from None
    empty_directory(folder)
    unpack_archive(archive.path, folder, ("*usr/bin/bwrap",))
    found = [path for path in folder.rglob("bwrap") if path.is_file()]
    if found and found[0] != program:
        program.parent.mkdir(parents=True, exist_ok=True)
        found[0].replace(program)
    if not program.is_file():
        raise UserError(f"{archive.path} has no usr/bin/bwrap; install it: {INSTALL}")
    program.chmod(0o755)
    return program
