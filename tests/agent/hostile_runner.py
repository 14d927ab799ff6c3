"""Runs hostile programs one by one and looks from outside whether anything got out.

    python tests/agent/hostile_runner.py --part 0/2 --out rows.jsonl        # only in a room:
    argv = in_a_room([sys.executable, "tests/agent/hostile_runner.py", …])

A room is a process, network, mount and IPC namespace of its own, with a bound on time, so that a
hole in the sandbox hits nothing else on the machine. The runner refuses to start outside of one.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import hostile_bombs  # noqa: F401  (adds its programs to the suite)
from hostile_programs import SUITE, Hostile

from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.limits import FIRST_USER
from openqwen.agent.sandbox.run import run_program

LIMITS = {
    "timeout_s": 10.0,
    "cpu_s": 10,
    "memory_mb": 256,
    "max_processes": 24,
    "max_output_bytes": 100_000,
    "max_file_bytes": 8 * 2**20,
    "max_files": 500,
    "disk_mb": 16,
}
NOBODY = 65534
ROOM_S = 240
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT)
ROOM = "OPENQWEN_HOSTILE_ROOM"


def in_a_room(argv: list[str], *, as_nobody: bool = False) -> list[str]:
    """Return the command that runs `argv` in namespaces of its own, bounded in time.

    Args:
        argv: the command.
        as_nobody: run it as the user nobody; for root only. What lies in folders closed to nobody,
            this Python say, is mounted anew in the room under the same name.
    """
    # bash stays the room's first process, so that somebody collects what is left without a parent
    new = ["unshare", "--fork", "--pid", "--mount-proc", "--net", "--ipc", "--kill-child"]
    if os.geteuid() != 0:
        new += ["--user", "--map-current-user"]
    script = "ip link set lo up 2>/dev/null; ulimit -c 0; export OPENQWEN_HOSTILE_ROOM=$$; "
    if as_nobody:
        base = os.path.realpath(sys.base_prefix)
        top = "/" + base.split("/")[1]
        if _is_closed(top):
            script += (
                f"mkdir -p /dev/shm/room && mount --bind {base} /dev/shm/room && "
                f"mount -t tmpfs -o mode=755 room {top} && mkdir -p {base} && "
                f"mount --move /dev/shm/room {base} && "
            )
        script += "setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/nonexistent "
    return [
        "timeout",
        "-k",
        "5",
        str(ROOM_S),
        *new,
        "bash",
        "-c",
        script + '"$@"; exit $?',
        "room",
        *argv,
    ]


def _is_closed(folder: str) -> bool:
    """Return whether other users may not enter a folder."""
    return not os.stat(folder).st_mode & 0o001


def sample() -> list[Hostile]:
    """Return every fourth of the programs that are not slow, for a look in passing."""
    return [hostile for hostile in SUITE if not hostile.slow][::4]


class Outside:
    """What a program could reach if it got out, and what shows that it did."""

    def __init__(self) -> None:
        """Make a folder with a secret, listeners, and count what reaches us."""
        self.patience_s = 2.0
        self.secret = hashlib.sha256(os.urandom(16)).hexdigest()
        os.environ["OPENQWEN_TEST_SECRET"] = self.secret
        self.folder = Path(tempfile.mkdtemp(prefix="canary-"))
        self.folder.chmod(0o755)  # open to all: the view alone must hide it
        (self.folder / "secret.txt").write_text(self.secret)
        self.hidden = f"{self.secret[-16:]}.txt"  # a name that only somebody who looks can know
        (self.folder / "below").mkdir()
        (self.folder / "below" / self.hidden).touch()
        self.received: list[str] = []
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.port = self.tcp.getsockname()[1]
        self.name = f"openqwen-{self.secret[:8]}"
        abstract = socket.socket(socket.AF_UNIX)
        abstract.bind("\0" + self.name)
        named = socket.socket(socket.AF_UNIX)
        named.bind(str(self.folder / "sock"))
        for listener in (self.tcp, abstract, named):
            listener.listen()
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        for number in SIGNALS:
            signal.signal(number, lambda got, _: self.received.append(f"signal {got}"))
        time.sleep(0.5)  # the probe's sandbox is taken down
        self.before = self.state()
        self.clock = time.time() - time.monotonic()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            listener.accept()
            self.received.append(f"a connection to {listener.getsockname()}")

    def state(self) -> dict[str, object]:
        """Return what no program may change."""
        content = {
            str(p.relative_to(self.folder)): p.read_bytes().decode() if p.is_file() else ""
            for p in sorted(self.folder.rglob("*"))
        }
        return {
            "its files": content,
            "processes": sorted(int(n) for n in os.listdir("/proc") if n.isdigit()),
            "sockets": [
                line.split()[1:4] if "tcp" in name or "udp" in name else line.split()[-1]
                for name in ("tcp", "tcp6", "udp", "unix")
                for line in Path("/proc/net", name).read_text().splitlines()[1:]
            ],
            "mounts": Path("/proc/self/mounts").read_text(),
            "host name": socket.gethostname(),
            "shared memory": Path("/proc/sysvipc/shm").read_text(),
            "files in /dev/shm": sorted(os.listdir("/dev/shm")),
        }

    def problems(self, kept: dict[str, bytes], output: str, errors: str) -> list[str]:
        """Return what shows that a program got out, nothing if it did not."""
        found = list(self.received)
        self.received.clear()
        deadline = time.monotonic() + self.patience_s
        while (now := self.state()) != self.before and time.monotonic() < deadline:
            time.sleep(0.01)  # the kernel may still be taking a namespace down
        found += [
            f"{key} changed: {self.before[key]} to {now[key]}"
            for key in now
            if now[key] != self.before[key]
        ]
        if abs(time.time() - time.monotonic() - self.clock) > 5:
            found.append("the clock was set")
        if self.secret in output + errors or any(
            self.secret.encode() in data for data in kept.values()
        ):
            found.append("the secret came out")
        if self.hidden in output:
            found.append("a folder of the user was seen")
        if "ESCAPED" in output:
            found.append("the program says that it escaped")
        if any(_user_of(pid) >= FIRST_USER for pid in os.listdir("/proc") if pid.isdigit()):
            found.append("a process of the sandbox's user is left")
        return found


def _user_of(pid: str) -> int:
    """Return the user of a process, -1 if it is gone."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


def run_one(hostile: Hostile, outside: Outside) -> dict[str, object]:
    """Run one program; return its row."""
    names = {
        "CANARY": repr(str(outside.folder)),
        "PORT": str(outside.port),
        "SOCKET": repr(outside.name),
    }
    program = hostile.program
    for name, value in names.items():
        program = program.replace(name, value)
    config = SandboxConfig(**{**LIMITS, **hostile.limits})
    begun = time.monotonic()
    verdict = run_program(program, config, keep=hostile.keep)
    seconds = time.monotonic() - begun
    problems = outside.problems(verdict.files, verdict.stdout, verdict.stderr)
    used = len(verdict.stdout.encode()) + len(verdict.stderr.encode())
    if used > 3 * config.max_output_bytes:  # a broken byte becomes three
        problems.append(f"{used} bytes of output")
    if sum(map(len, verdict.files.values())) > config.disk_mb * 2**20:
        problems.append("too much was kept")
    return {
        "name": hostile.name,
        "group": hostile.group,
        "status": verdict.status,
        "reason": verdict.reason,
        "exit_code": verdict.exit_code,
        "signal": verdict.signal,
        "level": verdict.level,
        "seconds": round(seconds, 3),
        "files": sorted(verdict.files),
        "stderr": verdict.stderr[-300:],
        "problems": problems,
    }


def main() -> None:
    """Run a part of the suite and write a row per program as soon as it is known."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="0/1", help="i/n: every n-th program, from the i-th on")
    parser.add_argument("--slow", action="store_true", help="all, not only the sample")
    parser.add_argument("--only", help="programs whose name has this in it")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    if os.environ.get(ROOM) is None or os.getpid() > 100:
        sys.exit("hostile programs run in a room of their own only; see in_a_room")
    index, parts = map(int, args.part.split("/"))
    chosen = [h for h in (SUITE if args.slow else sample()) if (args.only or "") in h.name]
    run_program("pass", SandboxConfig(**LIMITS))  # the probe and first imports, before the count
    outside = Outside()
    try:
        with args.out.open("w", encoding="utf-8", errors="surrogateescape") as file:
            for hostile in chosen[index::parts]:
                with contextlib.suppress(BrokenPipeError):
                    print(json.dumps(run_one(hostile, outside)), file=file, flush=True)
    finally:
        shutil.rmtree(outside.folder)


def run_suite(
    out: Path, *, parts: int = 2, as_nobody: bool = False, slow: bool = False
) -> list[dict]:
    """Run the suite in as many rooms as parts, side by side; return the rows in its order.

    Without `slow` it is the sample alone.

    Raises:
        RuntimeError: if a runner fails, with what it said.
    """
    runners = []
    for i in range(parts):
        argv = [
            sys.executable,
            __file__,
            "--part",
            f"{i}/{parts}",
            "--out",
            str(out / f"{i}.jsonl"),
        ]
        command = in_a_room(argv + ["--slow"] * slow, as_nobody=as_nobody)
        runners.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        )
    said = [runner.communicate()[0] for runner in runners]
    if any(runner.returncode for runner in runners):
        raise RuntimeError("\n".join(said))
    rows = {}
    for i in range(parts):
        for line in (out / f"{i}.jsonl").read_text().splitlines():
            row = json.loads(line)
            rows[row["name"]] = row
    order = {hostile.name: i for i, hostile in enumerate(SUITE)}
    return sorted(rows.values(), key=lambda row: order[row["name"]])


if __name__ == "__main__":
    main()
