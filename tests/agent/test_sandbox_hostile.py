"""No hostile program gets out, none ends the run, each is reported as what it was.

The programs run in rooms (`hostile_runner.in_a_room`), never beside this process.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import hostile_bombs  # noqa: F401  (adds its programs to the suite)
import pytest
from hostile_programs import SUITE, Hostile
from hostile_runner import in_a_room, run_suite, sample

HERE = Path(__file__).parent
IS_X86 = os.uname().machine == "x86_64"


def why_no_room(*, as_nobody: bool = False) -> str:
    """Return why no room can be had here, "" if it can."""
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed"
    if as_nobody and os.geteuid() != 0:
        return "only root can become nobody"
    done = subprocess.run(
        in_a_room(["true"], as_nobody=as_nobody), capture_output=True, text=True, check=False
    )
    return f"no namespaces for a test: {done.stderr.strip()}" if done.returncode else ""


def run_rooms(*, as_nobody: bool = False, slow: bool = False) -> dict[str, dict]:
    reason = why_no_room(as_nobody=as_nobody)
    if reason:
        pytest.skip(reason)
    with tempfile.TemporaryDirectory() as name:  # nobody can't enter pytest's own
        out = Path(name)
        out.chmod(0o777)
        return {row["name"]: row for row in run_suite(out, as_nobody=as_nobody, slow=slow)}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict]:
    return run_rooms()


@pytest.fixture(scope="module")
def all_rows() -> dict[str, dict]:
    return run_rooms(slow=True)


@pytest.fixture(scope="module")
def all_rows_of_nobody() -> dict[str, dict]:
    return run_rooms(as_nobody=True, slow=True)


def check(hostile: Hostile, row: dict) -> None:
    assert row["problems"] == [], row
    assert row["status"] in hostile.expected, row
    assert row["level"] == "full"
    if row["status"] in ("timeout", "memory", "output", "processes", "files", "blocked"):
        assert row["reason"]
    if hostile.keep:  # links, pipes, sockets and what is too much stay behind
        assert "a.txt" not in row["files"] or hostile.name == "a folder nobody may enter"


@pytest.mark.parametrize("hostile", sample(), ids=lambda hostile: hostile.name)
def test_a_hostile_program_stays_inside_and_is_told_as_what_it_was(hostile, rows):
    if hostile.x86 and not IS_X86:
        pytest.skip("numbers and machine code of x86-64")
    check(hostile, rows[hostile.name])


@pytest.mark.slow
@pytest.mark.parametrize("hostile", SUITE, ids=lambda hostile: hostile.name)
def test_the_same_holds_for_all_of_them(hostile, all_rows):
    if hostile.x86 and not IS_X86:
        pytest.skip("numbers and machine code of x86-64")
    check(hostile, all_rows[hostile.name])


@pytest.mark.slow
@pytest.mark.parametrize("hostile", SUITE, ids=lambda hostile: hostile.name)
def test_the_same_holds_for_an_ordinary_user(hostile, all_rows_of_nobody):
    if hostile.x86 and not IS_X86:
        pytest.skip("numbers and machine code of x86-64")
    check(hostile, all_rows_of_nobody[hostile.name])


def test_the_suite_has_at_least_forty_programs_with_names_of_their_own():
    assert len(SUITE) >= 40
    assert len({hostile.name for hostile in SUITE}) == len(SUITE)


def test_the_runner_refuses_to_start_outside_of_a_room(tmp_path):
    out = tmp_path / "rows.jsonl"
    argv = [sys.executable, str(HERE / "hostile_runner.py"), "--out", str(out)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "in_a_room" in done.stderr
    assert not out.exists()


def test_the_checks_from_outside_notice_what_gets_out(tmp_path):
    """A program under limits alone reads the secret, reaches the port and leaves a process."""
    reason = why_no_room()
    if reason:
        pytest.skip(reason)
    script = """
import sys, json
sys.path.insert(0, sys.argv[1])
import hostile_runner
from hostile_programs import Hostile
program = '''
import os, socket, subprocess
print("ESCAPED", open(CANARY + "/secret.txt").read())
open(CANARY + "/new", "w").close()
print(os.listdir(CANARY + "/below"))
socket.create_connection(("127.0.0.1", PORT)).send(b"x")
os.kill(os.getppid(), 10)
subprocess.Popen(["setsid", "--fork", "sleep", "20"])
'''
outside = hostile_runner.Outside()
outside.patience_s = 0.1
row = hostile_runner.run_one(Hostile("x", "x", program, ("ok",), {"level": "rlimits"}), outside)
hostile_runner.shutil.rmtree(outside.folder)
print(json.dumps(row["problems"]))
"""
    argv = [sys.executable, "-c", script, str(HERE)]
    done = subprocess.run(in_a_room(argv), capture_output=True, text=True, check=True, timeout=60)
    problems = " ".join(json.loads(done.stdout.splitlines()[-1]))
    for sign in (
        "its files",
        "processes",
        "connection",
        "signal 10",
        "secret",
        "was seen",
        "it escaped",
    ):
        assert sign in problems, sign
