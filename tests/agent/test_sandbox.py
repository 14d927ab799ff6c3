"""Programs in the sandbox: what comes back, limits, files, levels, and refusing where it can't."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from openqwen.agent.sandbox.call_filter import NUMBERS, call_filter, import_seccomp
from openqwen.agent.sandbox.check import require
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.folder import put_files, take_files
from openqwen.agent.sandbox.judge import judge
from openqwen.agent.sandbox.meter import Met
from openqwen.agent.sandbox.run import open_sandbox, run_program, run_programs
from openqwen.agent.sandbox.watch import Seen
from openqwen.cli.main import main
from openqwen.core.errors import UserError

ROOT = Path(__file__).parent.parent.parent
CONFIG = SandboxConfig(timeout_s=20)


def why_not() -> str:
    """Return why this machine can't isolate, "" if it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    try:
        require("full")
    except UserError as error:
        return str(error)
    return ""


@pytest.fixture(autouse=True)
def isolation():
    reason = why_not()
    if reason:
        pytest.skip(reason)


def test_a_program_gives_its_output_and_its_status():
    verdict = run_program("import sys; print(6 * 7); print('no', file=sys.stderr)", CONFIG)
    assert (verdict.status, verdict.stdout, verdict.stderr) == ("ok", "42\n", "no\n")
    assert (verdict.exit_code, verdict.signal, verdict.level, verdict.reason) == (
        0,
        None,
        "full",
        "",
    )
    assert 0 < verdict.seconds < 20
    failed = run_program("import sys; sys.exit(3)", CONFIG)
    assert (failed.status, failed.exit_code) == ("error", 3)


def test_an_uncaught_error_is_the_reason():
    verdict = run_program("x = {}\nx['key']", CONFIG)
    assert (verdict.status, verdict.reason) == ("error", "KeyError: 'key'")


def test_a_program_is_a_plain_script_with_this_python_and_its_packages():
    program = "import numpy, os, sys; print(__name__, __file__, os.getcwd(), sys.version); exit()"
    verdict = run_program(program, CONFIG)
    assert verdict.stdout == f"__main__ /work/program.py /work {sys.version}\n"


def test_files_go_in_and_only_those_asked_for_come_out():
    files = {"main.py": b"import helper; helper.write()", "data/in.txt": b"hi"}
    helper = b"""
def write():
    open('out.txt', 'w').write(open('data/in.txt').read() * 2)
    open('data/deep.txt', 'w').write('d')
    open('other', 'w').write('x')
"""
    verdict = run_program(files, CONFIG, files={"helper.py": helper}, keep=["*.txt"])
    assert verdict.status == "ok"
    assert verdict.files == {"data/deep.txt": b"d", "data/in.txt": b"hi", "out.txt": b"hihi"}


def test_a_command_takes_the_place_of_the_program():
    verdict = run_program({"a.txt": b"text"}, CONFIG, command=["cat", "a.txt"])
    assert (verdict.status, verdict.stdout) == ("ok", "text")
    module = run_program({}, CONFIG, command=["python", "-c", "import sys; print(sys.prefix)"])
    assert module.stdout == "/python\n"


def test_a_file_that_would_lead_out_is_refused():
    for name in ("../x", "/etc/x", "a/../../x", ""):
        with pytest.raises(UserError, match="relative name"):
            run_program("pass", CONFIG, files={name: b""})


def test_nothing_is_left_from_one_program_to_the_next():
    assert run_program("open('/work/a', 'w'); open('/tmp/b', 'w')", CONFIG).status == "ok"
    seen = run_program("import os; print(os.listdir('/work'), os.listdir('/tmp'))", CONFIG)
    assert seen.stdout == "['program.py'] []\n"


def test_the_loopback_works_inside_so_that_programs_may_serve_themselves():
    program = """
import http.server, threading, urllib.request
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(urllib.request.urlopen(f"http://localhost:{server.server_port}/program.py").status)
"""
    assert run_program(program, CONFIG).stdout == "200\n"


def test_programs_come_back_in_order_and_are_taken_only_as_needed():
    taken = []

    def programs():
        for i in range(40):
            taken.append(i)
            yield f"import time; time.sleep({0.2 if i == 0 else 0}); print({i})"

    verdicts = run_programs(programs(), CONFIG, workers=2)
    assert [next(verdicts).stdout for _ in range(4)] == ["0\n", "1\n", "2\n", "3\n"]
    verdicts.close()
    assert len(taken) < 12


def test_limits_are_kept_and_named():
    config = SandboxConfig(timeout_s=20, memory_mb=64, max_output_bytes=1000)
    assert run_program("x = bytearray(10**9)", config).status == "memory"
    verdict = run_program("print('x' * 5000)", config)
    assert (verdict.status, len(verdict.stdout)) == ("output", 1000)
    begun = time.monotonic()
    slow = run_program(
        "print('a', flush=True); import time; time.sleep(60)", SandboxConfig(timeout_s=0.5)
    )
    assert (slow.status, slow.stdout, slow.signal) == ("timeout", "a\n", 9)
    assert time.monotonic() - begun < 20


def test_a_box_shares_a_folder_with_programs_that_live_long(tmp_path):
    (tmp_path / "in.txt").write_text("hi")
    program = """
import os, socket
os.symlink("/etc/hostname", "link.txt")
open("out.txt", "w").write(open("in.txt").read() * 2)
s = socket.socket(socket.AF_UNIX); s.bind("door"); s.listen()
s.accept()[0].send(b"hello")
"""
    with open_sandbox(CONFIG, folder=tmp_path) as box:
        box.put({"program.py": program.encode()})
        process = box.start(["python", f"{box.inside}/program.py"])
        door = socket.socket(socket.AF_UNIX)
        assert wait_for(lambda: not door.connect_ex(str(tmp_path / "door")))
        assert door.recv(10) == b"hello"
        assert process.wait(20) == 0
        assert box.take(["*.txt"]) == {"in.txt": b"hi", "out.txt": b"hihi"}
        assert box.met is None
    assert {path.lstat().st_uid for path in [tmp_path, *tmp_path.iterdir()]} == {os.geteuid()}


def test_a_box_ends_what_exceeds_its_limits_and_what_is_left_at_its_end(tmp_path):
    config = SandboxConfig(disk_mb=8, max_file_bytes=2**30)
    with open_sandbox(config, folder=tmp_path) as box:
        big = "import time; open('big', 'wb').write(bytes(20 << 20)); time.sleep(60)"
        assert box.start(["python", "-c", big]).wait(20) != 0
        assert box.met == Met("files", "more than 8 MiB in its folder")
        left = box.start(["python", "-c", "import time; time.sleep(60)"])
        assert left.poll() is None
    assert left.poll() is not None


@pytest.mark.parametrize(
    "hide",
    [
        "f = open('x', 'wb'); os.unlink('x'); kept.append(f); f.write(bytes(4 << 20)); f.flush()",
        "os.mkdir('d'); os.chdir('d'); open('x', 'wb').write(bytes(999))",
    ],
    ids=["files without a name", "folders within folders"],
)
def test_a_box_also_counts_what_its_folder_does_not_show(tmp_path, hide):
    program = f"import os, time; kept = []\nfor _ in range(40):\n    {hide}\ntime.sleep(60)"
    with open_sandbox(SandboxConfig(disk_mb=8), folder=tmp_path) as box:
        assert box.start(["python", "-c", program]).wait(20) != 0
        assert box.met is not None
        assert box.met.status == "files"


def test_a_box_that_cannot_be_watched_is_ended(tmp_path, monkeypatch):
    def unreadable(self):
        raise ValueError("no such number")

    monkeypatch.setattr("openqwen.agent.sandbox.meter.Meter.use", unreadable)
    with open_sandbox(CONFIG, folder=tmp_path) as box:
        assert box.start(["python", "-c", "import time; time.sleep(60)"]).wait(20) != 0
        assert box.met == Met("files", "its use can't be read: no such number")


def test_the_filter_knows_calls_that_libseccomp_does_not(monkeypatch):
    seccomp = import_seccomp()
    whole = call_filter()
    resolve = seccomp.resolve_syscall

    def older(arch, name):
        if name in NUMBERS:
            raise ValueError(name)
        return resolve(arch, name)

    assert all(resolve(seccomp.Arch.NATIVE, n) in (NUMBERS[n], -1) for n in NUMBERS)
    monkeypatch.setattr(seccomp, "resolve_syscall", older)
    assert len(call_filter.__wrapped__()) == len(whole)


def test_a_box_that_restarts_its_program_often_holds_no_more_than_one(tmp_path):
    with open_sandbox(CONFIG, folder=tmp_path) as box:
        counts = []
        for _ in range(4):
            process = box.start(["sleep", "60"])
            counts.append(len(os.listdir("/proc/self/fd")))
            box.kill()
            assert process.wait(20) != 0
    assert counts == counts[:1] * 4


def test_a_box_interrupts_its_program(tmp_path):
    program = """
import time
try:
    open('up', 'w'); time.sleep(60)
except KeyboardInterrupt:
    open('got', 'w')
"""
    with open_sandbox(CONFIG, folder=tmp_path) as box:
        process = box.start(["python", "-c", program])
        assert wait_for((tmp_path / "up").exists)
        box.interrupt()
        assert process.wait(20) == 0
        assert (tmp_path / "got").exists()


def test_files_are_neither_written_nor_read_through_links(tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a.txt").write_text("secret")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "a.txt").symlink_to(tmp_path / "outside" / "a.txt")
    (inside / "real.txt").write_text("real")
    os.mkfifo(inside / "pipe.txt")
    handle = os.open(inside, os.O_RDONLY)
    try:
        assert take_files(handle, ["*"], max_bytes=100, max_files=10) == {"real.txt": b"real"}
        with pytest.raises(UserError, match=r"folder/b\.txt can't be put"):
            put_files(handle, {"folder/b.txt": b"x"})
        put_files(handle, {"a.txt": b"new"})
    finally:
        os.close(handle)
    assert (tmp_path / "outside" / "a.txt").read_text() == "secret"
    assert (inside / "a.txt").read_text() == "new"
    assert not (tmp_path / "outside" / "b.txt").exists()


def test_taken_files_are_bounded_in_size_and_number(tmp_path):
    for i in range(5):
        (tmp_path / f"{i}").write_bytes(b"x" * 10)
    handle = os.open(tmp_path, os.O_RDONLY)
    try:
        assert list(take_files(handle, ["*"], max_bytes=25, max_files=10)) == ["0", "1"]
        assert list(take_files(handle, ["*"], max_bytes=100, max_files=3)) == ["0", "1", "2"]
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("code", "stderr", "status"),
    [
        (0, b"MemoryError", "ok"),
        (1, b"Traceback\nMemoryError", "memory"),
        (1, b"PermissionError: [Errno 13] Permission denied: 'x'", "blocked"),
        (1, b"OSError: [Errno 28] No space left on device", "files"),
        (1, b"RuntimeError: can't start new thread", "processes"),
        (1, b"FileNotFoundError: [Errno 2] No such file: '[Errno 1]'\nValueError: x", "error"),
        (128 + 31, b"", "blocked"),
        (128 + 24, b"", "timeout"),
        (128 + 25, b"", "files"),
        (128 + 11, b"", "crashed"),
        (250, b"", "error"),
        (None, b"", "crashed"),
    ],
)
def test_a_verdict_follows_from_exit_status_and_last_line(code, stderr, status):
    assert judge(Seen(b"", stderr, code, None), CONFIG, 1.0).status == status


def test_a_limit_that_was_met_goes_before_what_the_program_says():
    seen = Seen(b"", b"MemoryError", None, Met("timeout", "too long"))
    verdict = judge(seen, CONFIG, 1.0)
    assert (verdict.status, verdict.reason, verdict.exit_code) == ("timeout", "too long", None)


def test_the_weaker_levels_are_weaker_only_as_said():
    status = "print([line.split()[1] for line in open('/proc/self/status') if 'Seccomp:' in line])"
    assert run_program(status, CONFIG).stdout == "['2']\n"
    weaker = run_program(status, SandboxConfig(level="namespaces"))
    assert (weaker.stdout, weaker.level) == ("['0']\n", "namespaces")
    bare = run_program(
        "import os; print(os.getcwd(), len(os.environ))", SandboxConfig(level="rlimits")
    )
    assert bare.level == "rlimits"
    assert "/work" not in bare.stdout.split()[0]


def test_the_level_without_isolation_still_ends_what_runs_too_long(tmp_path):
    config = SandboxConfig(level="rlimits", timeout_s=0.5)
    program = "import subprocess, time; subprocess.Popen(['sleep', '61.5']); time.sleep(60)"
    assert run_program(program, config).status == "timeout"
    assert not is_running("sleep", "61.5")


def test_a_program_ends_with_the_process_that_started_it():
    script = """
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.sandbox.run import run_program
import time
run_program("pass")
print("up", flush=True)
run_program({}, SandboxConfig(timeout_s=60), command=["sleep", "62.5"])
"""
    runner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert runner.stdout is not None
    assert runner.stdout.readline() == b"up\n"
    assert wait_for(lambda: is_running("sleep", "62.5"))
    runner.kill()
    runner.communicate()
    assert wait_for(lambda: not is_running("sleep", "62.5"))


def is_running(*argv: str) -> bool:
    wanted = "".join(f"{word}\0" for word in argv).encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if path.read_bytes() == wanted:
                return True
        except OSError:  # it ended meanwhile
            continue
    return False


def wait_for(condition, seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_without_bubblewrap_nothing_runs_and_the_fix_is_named(tmp_path):
    program = tmp_path / "a.py"
    program.write_text("open('ran', 'w')")
    environment = {
        "PATH": str(tmp_path),  # no bwrap, and no apt-get to fetch it
        "HOME": str(tmp_path),
        "PYTHONPATH": str(ROOT),
    }
    argv = [sys.executable, "-m", "openqwen", "sandbox", "run", str(program)]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "apt-get install bubblewrap" in done.stderr
    assert "--level" in done.stderr
    assert not (tmp_path / "ran").exists()
    weaker = subprocess.run(
        [*argv, "--level", "rlimits"], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert weaker.returncode == 0
    assert json.loads(weaker.stdout.splitlines()[-1])["level"] == "rlimits"
    assert "isolation was only rlimits" in weaker.stderr


def test_the_filter_is_a_program_of_whole_instructions_and_denies_by_number():
    program = call_filter()
    assert len(program) % 8 == 0
    assert len(program) > 100 * 8


def test_the_verb_prints_one_line_of_json_and_says_by_its_status_whether_it_worked(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    lie = '{"status": "ok"}'
    Path("a.py").write_text(
        f"import b; print('{lie}\\x1b[2J'); open('p.png', 'w').write('x')\nb.stop()"
    )
    Path("b.py").write_text("import sys\ndef stop(): sys.exit(4)")
    argv = ["sandbox", "run", "a.py", "--file", "b.py", "--keep", "*.png", "--out", "kept"]
    assert main(argv) == 1
    said = capsys.readouterr()
    verdict = json.loads(said.out)
    assert (verdict["status"], verdict["exit_code"], verdict["level"]) == ("error", 4, "full")
    assert verdict["files"] == {"p.png": 1}
    assert Path("kept/p.png").read_text() == "x"
    assert said.err.startswith(lie + "\\x1b[2J\n")
    Path("b.py").write_text("def stop(): pass")
    assert main(argv) == 0


def test_the_verb_refuses_bad_values_in_one_line(tmp_path, capsys):
    program = tmp_path / "a.py"
    program.write_text("pass")
    assert main(["sandbox", "run", str(tmp_path / "none.py")]) == 2
    assert "none.py can't be read" in capsys.readouterr().err
    assert main(["sandbox", "run", str(program), "--timeout", "0"]) == 2
    assert "timeout_s = 0.0 is not valid" in capsys.readouterr().err
    assert main(["sandbox", "run", str(program), "--memory-mb", "1"]) == 2
    assert "memory_mb = 1 is not valid" in capsys.readouterr().err


def test_the_check_says_what_this_machine_can_do(capsys):
    assert main(["sandbox", "check"]) == 0
    said = capsys.readouterr().out
    assert "level full        yes" in said
    assert "bwrap" in said
