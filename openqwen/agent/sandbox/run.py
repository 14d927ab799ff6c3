"""Untrusted programs run in the sandbox, one verdict each.

    verdict = run_program("print(6 * 7)", SandboxConfig(timeout_s=3))
    verdict.status, verdict.stdout                       # "ok", "42\n"
    run_program({"a.py": b"…", "data.csv": b"…"}, keep=["*.png"]).files
    for verdict in run_programs(programs, SandboxConfig(), workers=2): …

Where the machine can't isolate as asked, nothing runs: a UserError says what is missing.
"""

import subprocess
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from openqwen.agent.sandbox.bare import start_bare
from openqwen.agent.sandbox.box import open_sandbox
from openqwen.agent.sandbox.check import require
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.folder import put_files, take_files
from openqwen.agent.sandbox.judge import judge
from openqwen.agent.sandbox.meter import MIB
from openqwen.agent.sandbox.started import start
from openqwen.agent.sandbox.verdict import Verdict
from openqwen.agent.sandbox.watch import watch

__all__ = ["open_sandbox", "run_program", "run_programs"]

PROGRAM = "program.py"
Source = str | Mapping[str, bytes]


def run_program(
    source: Source,
    config: SandboxConfig | None = None,
    *,
    command: Sequence[str] | None = None,
    files: Mapping[str, bytes] | None = None,
    keep: Sequence[str] = (),
) -> Verdict:
    """Run a Python program, or a command, in a fresh empty folder and return what became of it.

    Args:
        source: the program's text, or files by name of which the first is the program.
        config: limits and level; None takes the defaults.
        command: what to run instead of the program; `python` is this Python.
        files: further files for its folder.
        keep: patterns of names below its folder whose files come back in the verdict.

    Raises:
        UserError: if this machine can't isolate as asked, or a file's name leads out of the folder.
    """
    config = config or SandboxConfig()
    require(config.level)
    laid = {PROGRAM: source.encode("utf-8", "surrogatepass")} if isinstance(source, str) else source
    if not laid and command is None:
        raise ValueError("no program: source has no files and no command is named")
    argv = list(command) if command is not None else ["python", next(iter(laid))]
    return run_started(argv, config, {**laid, **(files or {})}, keep)


def run_started(
    argv: Sequence[str], config: SandboxConfig, files: Mapping[str, bytes], keep: Sequence[str]
) -> Verdict:
    """Run a command in a fresh folder with these files; the level's support is not checked."""
    begin = start_bare if config.level == "rlimits" else start
    pipe = subprocess.PIPE
    with begin(argv, config, stdout=pipe, stderr=pipe) as started:
        put_files(started.work, files, started.user)
        meter = started.meter(config)
        begun = time.monotonic()
        started.release()
        seen = watch(started, config, meter)
        seconds = time.monotonic() - begun
        verdict = judge(seen, config, seconds)
        if keep:
            most, bound = config.disk_mb * MIB, config.max_files
            verdict.files.update(take_files(started.work, keep, max_bytes=most, max_files=bound))
        return verdict


def run_programs(
    sources: Iterable[Source], config: SandboxConfig | None = None, workers: int = 2
) -> Iterator[Verdict]:
    """Run programs side by side and yield their verdicts in the programs' order.

    At most twice `workers` programs are taken from `sources` ahead of the verdict that comes next.
    """
    config = config or SandboxConfig()
    require(config.level)
    waiting: deque[Future[Verdict]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="sandbox") as pool:
        try:
            for source in sources:
                waiting.append(pool.submit(run_program, source, config))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
