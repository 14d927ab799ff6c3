"""Limits of the code interpreter; light to import."""

from openqwen.agent.sandbox.config import Level, SandboxConfig
from openqwen.core.config import Config, setting


class InterpreterConfig(Config):
    """What one session and one call may take. All values are ours: the report names none."""

    call_timeout_s: float = setting(
        30.0, "seconds that one call may run before it is stopped", gt=0
    )
    total_timeout_s: float = setting(
        600.0, "seconds that all calls of a session may run together; waiting doesn't count", gt=0
    )
    start_timeout_s: float = setting(60.0, "seconds that the kernel may take to start", gt=0)
    max_calls: int = setting(100, "calls of a session", ge=1)
    max_output_bytes: int = setting(
        200_000,
        "bytes of each kind of output that are kept of a call; the middle is dropped",
        ge=100,
    )
    stop_output_bytes: int = setting(
        5_000_000, "bytes of output and images at which a call is stopped", ge=1_000
    )
    max_images: int = setting(8, "images kept of a call", ge=0)
    max_image_bytes: int = setting(4_000_000, "bytes of one image; a larger one is dropped", ge=0)
    max_file_bytes: int = setting(
        50_000_000, "bytes of a file that is read out of the session", ge=0
    )
    max_files: int = setting(200, "files that are listed after a call", ge=0)
    memory_mb: int = setting(1024, "memory of the session's processes", ge=128)
    max_processes: int = setting(64, "processes and threads of the session", ge=8)
    level: Level = setting("full", "weakest isolation that is accepted; see docs/sandbox.md")

    def sandbox(self) -> SandboxConfig:
        """Return the sandbox's settings: a session lives as long as its owner, a cell does not."""
        day_s = 86_400
        return SandboxConfig.model_validate(
            {
                "timeout_s": day_s,
                "cpu_s": day_s,
                "memory_mb": self.memory_mb,
                "max_processes": self.max_processes,
                "level": self.level,
            }
        )
