import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def ended(call, *, timeout_s):
    """Return the ended process; one that takes longer is told to end, and its workers with it."""
    job = subprocess.Popen(
        call,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        stdout, stderr = job.communicate(timeout=timeout_s)
    except BaseException:
        os.killpg(
            job.pid, signal.SIGTERM
        )  # a launcher passes it on; a kill would leave its workers
        with contextlib.suppress(subprocess.TimeoutExpired):
            job.communicate(timeout=60)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        raise
    return subprocess.CompletedProcess(call, job.returncode, stdout, stderr)


@pytest.mark.dist
def test_a_job_whose_worker_is_killed_mends_itself_with_equal_bits(tmp_path):
    call = [sys.executable, ROOT / "benchmarks" / "killed_worker.py", "--kills", "1"]
    done = ended([*map(str, call), "--folder", str(tmp_path)], timeout_s=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same bits") == 6
    assert "differs" not in done.stdout


def launched(*arguments, ranks=2):
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    call += ["--nproc-per-node", str(ranks), "-m", "openqwen", *map(str, arguments)]
    return ended(call, timeout_s=120)


@pytest.mark.dist
def test_what_works_in_one_process_says_so_under_a_launcher(tmp_path):
    done = launched("run", "tiny", "--out", tmp_path / "run")
    assert done.returncode != 0
    assert "openqwen: openqwen run walks the stages in one process" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.dist
def test_one_line_tells_what_every_rank_finds(tmp_path):
    done = launched("pretrain", "tiny", "--shards", tmp_path, "--tokenizer", tmp_path, "--out", "x")
    found = [line for line in done.stderr.splitlines() if line.startswith("openqwen: ")]
    assert len(found) == 1
    assert "holds no finished shards stage" in found[0]
