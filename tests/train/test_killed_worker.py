import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.dist
def test_a_job_whose_worker_is_killed_mends_itself_with_equal_bits(tmp_path):
    call = [sys.executable, ROOT / "benchmarks" / "killed_worker.py", "--kills", "1"]
    done = subprocess.run(
        [*map(str, call), "--folder", str(tmp_path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("the same bits") == 6
    assert "differs" not in done.stdout


def launched(*arguments, ranks=2):
    call = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    call += ["--nproc-per-node", str(ranks), "-m", "openqwen", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, timeout=120)


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
