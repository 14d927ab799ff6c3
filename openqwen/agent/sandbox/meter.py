"""What a sandbox uses right now, against its limits: memory, processes, files.

The kernel's limits are per process or, for disk, per folder; sums over all processes are read here,
from the sandbox's own /proc, a few dozen times a second. A program that takes memory faster than
that still meets the limits of each process.
"""

import contextlib
import os
import re
import stat
from collections.abc import Sequence
from typing import NamedTuple

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.folder import DEEPEST, walk
from openqwen.agent.sandbox.verdict import Status

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 2**20
FREE_BYTES = 2**30  # what a program may not take of a disk of the host, by whatever way


class Met(NamedTuple):
    """A limit that a program has met."""

    status: Status
    reason: str


class Use(NamedTuple):
    """What the processes of a sandbox use together."""

    tasks: int
    resident_bytes: int


class Meter:
    """Reads the use of one sandbox through its open /proc and /work."""

    own_tasks = 1
    """Processes that are the sandbox's, not the program's."""

    def __init__(
        self,
        config: SandboxConfig,
        proc: int,
        work: int,
        *,
        others: Sequence[int] = (),
        on_host_disk: bool = False,
    ) -> None:
        """Take the limits and the open folders.

        Args:
            config: the limits.
            proc: the sandbox's /proc.
            work: its /work.
            others: its other writable folders, in memory.
            on_host_disk: /work is a folder of the host, whose use must be counted file by file.
        """
        self.config = config
        self.proc = proc
        self.work = work
        self.others = others
        self.on_host_disk = on_host_disk
        self.free_before = self._free_bytes()[0]

    def met(self) -> Met | None:
        """Return the first limit that is exceeded now, or None."""
        config = self.config
        use = self.use()
        if use.tasks - self.own_tasks > config.max_processes:
            return Met("processes", f"more than {config.max_processes} processes and threads")
        limit = config.memory_mb * MIB
        if use.resident_bytes > limit and self._proportional_bytes() > limit:
            return Met("memory", f"more than {config.memory_mb} MiB in all processes together")
        return self._met_by_files()

    def use(self) -> Use:
        """Return the number of processes and threads, and the sum of their resident memory."""
        tasks = pages = 0
        for pid in self._pids():
            fields = self._read(f"{pid}/stat").rpartition(")")[2].split()
            if len(fields) > 21:
                tasks += int(fields[17])
                pages += int(fields[21])
        return Use(tasks, pages * PAGE)

    def _proportional_bytes(self) -> int:
        """Return the memory of all processes, pages that they share counted once."""
        total = 0
        for pid in self._pids():
            found = re.search(r"^Pss:\s+(\d+) kB", self._read(f"{pid}/smaps_rollup"), re.MULTILINE)
            if found:
                total += int(found[1]) * 1024
            else:  # it is ending, or its memory is closed to us
                fields = self._read(f"{pid}/statm").split()
                total += int(fields[1]) * PAGE if len(fields) > 1 else 0
        return total

    def _met_by_files(self) -> Met | None:
        """Return whether there are too many files, or too much on a folder of the host."""
        config = self.config
        limit = config.disk_mb * MIB
        too_many = Met("files", f"more than {config.max_files:,} files")
        for folder in self.others if self.on_host_disk else (self.work, *self.others):
            room = os.fstatvfs(folder)
            if room.f_files - room.f_ffree > config.max_files + 1:
                return too_many
        if not self.on_host_disk:
            return None
        count, used = 0, self._deleted_bytes()
        if _is_closed(os.fstat(self.work)):
            return Met("files", "its folder is closed to who watches it")
        for entry in walk(self.work, most=2 * config.max_files):
            count += 1
            with contextlib.suppress(OSError):
                facts = os.stat(entry.last, dir_fd=entry.where, follow_symlinks=False)
                used += facts.st_blocks * 512
                if entry.name.count("/") >= DEEPEST or _is_closed(facts):
                    return Met("files", "a folder too deep, or closed to who watches it")
        if count > config.max_files:
            return too_many
        if used > limit:
            return Met("files", f"more than {config.disk_mb} MiB in its folder")
        free, least = self._free_bytes()
        if free < least and free < self.free_before - limit:  # used in a way that is not seen here
            return Met("files", "the disk of its folder is nearly full")
        return None

    def _free_bytes(self) -> tuple[int, int]:
        """Return how much of the disk of /work is free, and how much should be."""
        disk = os.fstatvfs(self.work)
        whole = disk.f_blocks * disk.f_frsize
        return disk.f_bavail * disk.f_frsize, min(FREE_BYTES, whole // 20)

    def _deleted_bytes(self) -> int:
        """Return what files take that have no name any more and are still open."""
        device, found = os.fstat(self.work).st_dev, {}
        for pid in self._pids():
            with contextlib.suppress(OSError):
                for name in self._names(f"{pid}/fd"):
                    with contextlib.suppress(OSError):
                        facts = os.stat(f"{pid}/fd/{name}", dir_fd=self.proc)
                        if not facts.st_nlink and facts.st_dev == device:
                            found[facts.st_ino] = facts.st_blocks * 512
        return sum(found.values())

    def _names(self, folder: str) -> list[str]:
        """Return the names in a folder of the sandbox's /proc."""
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self.proc)
        try:
            return os.listdir(handle)
        finally:
            os.close(handle)

    def _pids(self) -> list[str]:
        """Return the processes; the first, bubblewrap's, too, since it might be taken over."""
        try:
            return [name for name in os.listdir(self.proc) if name.isdigit()]
        except OSError:
            return []

    def _read(self, name: str) -> str:
        """Return a file of the sandbox's /proc, empty if the process is gone."""
        try:
            handle = os.open(name, os.O_RDONLY, dir_fd=self.proc)
        except OSError:
            return ""
        try:
            return os.read(handle, 65536).decode(errors="replace")
        except OSError:
            return ""
        finally:
            os.close(handle)


def _is_closed(facts: os.stat_result) -> bool:
    """Return whether this is a folder that we may not look into."""
    closed = stat.S_ISDIR(facts.st_mode) and facts.st_mode & 0o500 != 0o500
    return closed and os.geteuid() != 0
