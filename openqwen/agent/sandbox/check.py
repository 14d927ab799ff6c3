"""Whether this machine can isolate: tried out, not believed.

    require("full")                 # raises UserError, with what is missing, or returns
    for line in describe(): print(line)

A probe runs in a real sandbox and reports what is in force there: its user, capabilities, filter,
network interfaces. It runs once per process and level, in some 20 ms.
"""

import functools
import re
import sys

from openqwen.agent.sandbox.bubblewrap import find_bubblewrap
from openqwen.agent.sandbox.call_filter import call_filter
from openqwen.agent.sandbox.config import LEVELS, Level, SandboxConfig
from openqwen.agent.sandbox.judge import judge
from openqwen.agent.sandbox.limits import is_root, limit_arguments
from openqwen.agent.sandbox.started import start
from openqwen.agent.sandbox.watch import watch
from openqwen.core.errors import UserError

PROBE = ["cat", "/proc/self/status", "/proc/self/limits", "/proc/net/dev"]
NO_CAPABILITY = "0" * 16
FILTERED = "2"  # seccomp's mode with a filter, in /proc/self/status
WEAKER = "name a weaker level (--level {levels}) only for programs you trust"
USER_NAMESPACES = (
    "an ordinary user needs user namespaces: sysctl kernel.unprivileged_userns_clone=1, or on "
    "Ubuntu kernel.apparmor_restrict_unprivileged_userns=0; in a container, start it with "
    "--privileged"
)


@functools.cache
def require(level: Level) -> None:
    """Make sure that programs can be isolated as the level says.

    Raises:
        UserError: one line with what is missing, how to get it, and the weaker levels.
    """
    if not sys.platform.startswith("linux"):
        raise UserError("the sandbox needs Linux; on another system use a container or a machine")
    try:
        if level == "rlimits":
            limit_arguments(SandboxConfig(level=level))
            return
        find_bubblewrap()
        if level == "full":
            call_filter()
        missing = probe(level)
    except UserError as error:
        raise UserError(f"{error}; {_weaker(level)}") from None
    if missing:
        raise UserError(f"not isolated as level {level} asks: {missing}; {_weaker(level)}")


def probe(level: Level) -> str:
    """Start a sandbox that reports what is in force; return what is missing, "" if nothing.

    Raises:
        UserError: if the sandbox can't be set up.
    """
    import subprocess

    config = SandboxConfig(level=level)
    try:
        started = start(PROBE, config, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except UserError as error:
        hint = "" if is_root() else f" ({USER_NAMESPACES})"
        raise UserError(f"{error}{hint}") from None
    with started:
        meter = started.meter(config)
        started.release()
        verdict = judge(watch(started, config, meter), config, 0.0)
    if not verdict.ok:
        return verdict.reason or verdict.status
    return _missing(verdict.stdout, config)


def _missing(report: str, config: SandboxConfig) -> str:
    """Return what a probe's report shows to be missing, as one phrase."""
    facts = dict(re.findall(r"^(\w+):\s+(.*)$", report, re.MULTILINE))
    interfaces = set(re.findall(r"^\s*([\w.-]+):\s+\d+", report.split("Inter-|")[-1], re.MULTILINE))
    found = []
    if "0" in facts.get("Uid", "0").split():
        found.append("it runs as root")
    for name in ("CapPrm", "CapEff", "CapBnd"):
        if facts.get(name) != NO_CAPABILITY:
            found.append(f"it holds capabilities ({name} {facts.get(name)})")
    if facts.get("NoNewPrivs") != "1":
        found.append("it may gain privileges")
    if config.level == "full" and facts.get("Seccomp") != FILTERED:
        found.append("the system call filter is not in force")
    if interfaces - {"lo"}:
        found.append(f"it sees the network ({', '.join(sorted(interfaces - {'lo'}))})")
    if not re.search(rf"^Max file size\s+{config.max_file_bytes}\s", report, re.MULTILINE):
        found.append("limits are not in force")
    return ", ".join(found)


def describe() -> list[tuple[str, str]]:
    """Return for each part and level what this machine can do: (name, "yes" or why not)."""
    rows = [("user", "root: a user id per sandbox" if is_root() else "ordinary: user namespace")]
    try:
        rows.append(("bubblewrap", str(find_bubblewrap())))
    except UserError as error:
        rows.append(("bubblewrap", f"no: {error}"))
    try:
        rows.append(("call filter", f"{len(call_filter()) // 8} instructions"))
    except UserError as error:
        rows.append(("call filter", f"no: {error}"))
    for level in LEVELS:
        try:
            require(level)
            rows.append((f"level {level}", "yes"))
        except UserError as error:
            rows.append((f"level {level}", f"no: {error}"))
    return rows


def _weaker(level: Level) -> str:
    """Return the advice that names the levels below one."""
    below = LEVELS[LEVELS.index(level) + 1 :]
    return WEAKER.format(levels=" or ".join(below)) if below else "no weaker level is left"
