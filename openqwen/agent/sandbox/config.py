"""Settings of the sandbox: its limits and how strong the isolation must be."""

from typing import Literal

from openqwen.core.config import Config, setting

Level = Literal["full", "namespaces", "rlimits"]
LEVELS: tuple[Level, ...] = ("full", "namespaces", "rlimits")


class SandboxConfig(Config):
    """Limits of one sandbox. They hold for all its processes together unless said otherwise."""

    timeout_s: float = setting(10.0, "wall time of a program, in seconds", gt=0, le=86_400)
    cpu_s: int = setting(10, "processor time of each process, in seconds", ge=1, le=86_400)
    memory_mb: int = setting(1024, "memory, in MiB, beside what lies on disk", ge=32)
    max_processes: int = setting(32, "processes and threads at a time", ge=1, le=4096)
    max_output_bytes: int = setting(1_000_000, "standard output and error, in bytes", ge=1)
    max_file_bytes: int = setting(64 * 2**20, "size of any one file, in bytes", ge=1)
    max_files: int = setting(4096, "files and folders in the working directory", ge=1)
    disk_mb: int = setting(64, "disk of /work and of /tmp, in MiB each", ge=1)
    max_open_files: int = setting(256, "open files of each process", ge=16)
    level: Level = setting(
        "full",
        "isolation asked for: full, namespaces (without the system call filter) or rlimits (none)",
    )
