"""The benchmark that kills a pretraining in its phases, with few kills."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.slow
def test_a_pretraining_killed_in_three_phases_ends_with_the_same_bits(tmp_path):
    call = [sys.executable, ROOT / "benchmarks" / "kill_training.py", "--kills", "3"]
    done = subprocess.run(
        [*call, "--seed", "1", "--folder", tmp_path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('"phase": ') == 3
    assert "Every weight, moment and metric row is the same" in done.stdout
    assert "**differs**" not in done.stdout
