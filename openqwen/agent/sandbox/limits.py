"""Limits that the kernel keeps for every process, and the user that a sandbox's processes are.

As root, each sandbox runs as a user id of its own, used by nobody else: RLIMIT_NPROC counts per
user, does nothing for root, and files of others are closed to it. As an ordinary user the sandbox
stays that user in a user namespace; since Linux 5.14 the kernel counts its processes there alone.
"""

import functools
import os
import platform
import random
import re
import resource
import shutil
from pathlib import Path

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.core.errors import UserError

FIRST_USER = 1_900_000_000
NUM_USERS = 2**24
FEWEST_USERS = 1000
USER_INSIDE = 1000  # what an ordinary user is called within its user namespace
SPARE_PROCESSES = 8  # the kernel's bound lies a little above, the meter ends the program first
ADDRESS_SLACK = 2  # address space a byte of memory: libraries reserve more than they use
ADDRESS_FREE_MB = 1024
MIB = 2**20


def is_root() -> bool:
    """Return whether this process runs as root."""
    return os.geteuid() == 0


def pick_user() -> int:
    """Return a user id that nothing else uses, for one sandbox started by root.

    Raises:
        UserError: where this root, of a user namespace, may take no other id.
    """
    first, count = _user_range()
    return first + random.SystemRandom().randrange(count)


@functools.cache
def _user_range() -> tuple[int, int]:
    """Return the first id and the number of ids to draw from, inside what is mapped here."""
    best = (0, 0)
    for line in Path("/proc/self/uid_map").read_text().splitlines():
        first, _, count = map(int, line.split())
        if first <= FIRST_USER and first + count >= FIRST_USER + NUM_USERS:
            return FIRST_USER, NUM_USERS
        if count > best[1]:
            best = (first, count)
    first, count = best
    if count < 2 * FEWEST_USERS:
        raise UserError(
            f"this root may take only {count} user ids, the sandbox needs {2 * FEWEST_USERS}; "
            "start as an ordinary user instead"
        )
    return first + count // 2, count // 2 - 1  # the upper half: real users stand low


def limit_arguments(config: SandboxConfig) -> list[str]:
    """Return the command that sets all limits but that of processes, then goes on.

    It stands before bubblewrap, so that the sandbox's first process, which an ordinary user's
    program could take over, is bound as well.

    Raises:
        UserError: if util-linux's `prlimit` is missing.
    """
    memory = config.memory_mb * MIB
    return _limit(
        {
            "as": (resource.RLIMIT_AS, ADDRESS_SLACK * memory + ADDRESS_FREE_MB * MIB),
            "data": (resource.RLIMIT_DATA, memory),
            "core": (resource.RLIMIT_CORE, 0),
            "cpu": (resource.RLIMIT_CPU, config.cpu_s + 1),
            "fsize": (resource.RLIMIT_FSIZE, config.max_file_bytes),
            "memlock": (resource.RLIMIT_MEMLOCK, MIB),
            "msgqueue": (resource.RLIMIT_MSGQUEUE, 0),
            "nofile": (resource.RLIMIT_NOFILE, config.max_open_files),
            "sigpending": (resource.RLIMIT_SIGPENDING, 1024),
        }
    )


def process_arguments(config: SandboxConfig, *, as_user: int | None) -> list[str]:
    """Return the command that bounds processes and becomes another user, then goes on.

    It stands inside the sandbox: there the kernel counts the sandbox's processes alone.

    Args:
        config: the limits.
        as_user: the id to become, for a sandbox started by root.

    Raises:
        UserError: if util-linux's `prlimit` or `setpriv` is missing.
    """
    command = _limit({"nproc": (resource.RLIMIT_NPROC, _process_limit(config))})
    if as_user is not None:
        command += [
            *(_tool("setpriv"), "--reuid", str(as_user), "--regid", str(as_user)),
            *("--clear-groups", "--no-new-privs", "--bounding-set", "-all", "--inh-caps", "-all"),
            "--",
        ]
    return command


def _limit(wanted: dict[str, tuple[int, int]]) -> list[str]:
    """Return the command that sets limits, none above what this process may have itself.

    Processor time has a second between the signal that tells why and the one that can't be caught.
    """
    command = [_tool("prlimit")]
    for name, (number, value) in wanted.items():
        hard = resource.getrlimit(number)[1]
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        soft = bounded - 1 if name == "cpu" and bounded > 1 else bounded
        command.append(f"--{name}={soft}:{bounded}")
    return [*command, "--"]


def _process_limit(config: SandboxConfig) -> int:
    """Return RLIMIT_NPROC: where it counts per user over the machine, on top of what runs."""
    limit = config.max_processes + SPARE_PROCESSES
    if is_root() or _kernel_version() >= (5, 14):
        return limit
    return limit + count_tasks_of(os.getuid())


def count_tasks_of(user: int) -> int:
    """Return how many processes and threads of a user run on this machine."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text(errors="replace")
        except OSError:
            continue
        owner = re.search(r"^Uid:\s+(\d+)", text, re.MULTILINE)
        threads = re.search(r"^Threads:\s+(\d+)", text, re.MULTILINE)
        if owner and threads and int(owner[1]) == user:
            count += int(threads[1])
    return count


def _kernel_version() -> tuple[int, ...]:
    """Return the kernel's version, two numbers."""
    return tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2])


@functools.cache
def _tool(name: str) -> str:
    """Return the path of one of util-linux's programs under /usr, where the sandbox sees it."""
    for folder in ("/usr/bin", "/usr/sbin", "/bin"):
        found = shutil.which(name, path=folder)
        if found:
            return found
    raise UserError(f"the sandbox needs {name}: apt-get install util-linux")
