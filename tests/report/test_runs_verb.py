"""`openqwen runs`: what is listed, compared and drawn, from rows as a loop writes them."""

import fcntl
import math

import pytest
from small_run import write_run

from openqwen.cli.main import main
from openqwen.core.files import write_json
from openqwen.core.log import MetricStream
from openqwen.core.manifest import Manifest, describe_outputs
from openqwen.report.runs import find_runs, held_out, read_training
from openqwen.report.runs_compare import curve_of, labels_of, moving_mean, places, values_at

START = 1_790_000_000.0
TOKENS = 1000  # a step


def write_training(out, *, rate=2e-3, steps=40, total=40, floor=3.0, speed=500.0, done=True):
    """Write a stage's directory whose loss falls to `floor`; a row every two steps."""
    settings = {"num_steps": total, "learning_rate": rate, "model": {"hidden_size": 64}}
    stream = MetricStream(out / "metrics.jsonl")
    for step in range(2, steps + 1, 2):
        loss = floor + 5 * math.exp(-step / 10) + (0.1 if step % 4 else -0.1)
        row = {"kind": "train", "step": step, "tokens": step * TOKENS, "loss": loss}
        row |= {"bits_per_byte": loss / 3, "tokens_per_s": speed, "share_of_peak": 0.5}
        stream.write(row | {"time": START + step * TOKENS / speed})
        if step % 10 == 0:
            groups = {
                "en": {"loss": loss, "bits_per_byte": 1.0, "tokens": 30, "bytes": 90},
                "zh": {"loss": loss, "bits_per_byte": 2.0, "tokens": 10, "bytes": 30},
            }
            stream.write({"kind": "validation", "step": step, "groups": groups})
    identity = {"stage": "base", "settings": settings, "inputs": {"shards": "ab" * 32}, "seed": 17}
    write_json(out / "settings.json", settings)
    if not done:
        write_json(out / "started.json", identity)
        return out
    facts = {"recipe": "tiny", "recipe_hash": "", "outputs": describe_outputs(out), "versions": {}}
    facts |= {"counts": {"parameters": 8_123_456}, "seconds": 9.0, "peak_memory_bytes": 1}
    Manifest(**identity, **facts, host={"processor": "A"}).write(out)
    return out


def lines(capsys, *arguments):
    assert main(["runs", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()


def refusal(capsys, *arguments):
    assert main(["runs", *map(str, arguments)]) == 2
    found = capsys.readouterr().err.splitlines()
    assert len(found) == 1, found
    return found[0]


def test_runs_are_listed_with_what_they_have_reached(tmp_path, capsys):
    write_training(tmp_path / "a" / "base")
    write_training(tmp_path / "b" / "base", steps=6, done=False)
    write_training(tmp_path / "b" / "scratch" / "inner")
    header, first, second, notes = lines(capsys, tmp_path)
    assert header.split()[:4] == ["run", "stage", "recipe", "size"]
    assert first.split()[0] == f"{tmp_path}/a/base"
    for part in ("tiny", "8.12 M", "finished", "40/40", "1.250", " 500 ", "50 %", "1:20"):
        assert part in first, (part, first)
    assert "2026-09-21 14:13" in first
    for part in (" running ", "6/40", " 2.143* "):
        assert part in second, (part, second)
    assert "mean of the last 10 training rows" in notes


def test_a_run_is_running_while_its_lock_is_held(tmp_path):
    out = write_training(tmp_path / "run" / "base", steps=6, done=False)
    assert read_training(out).state == "running", "no lock, but rows came just now"
    with (tmp_path / "run" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_training(out).state == "running"
    assert read_training(out).state == "stopped"


def test_status_tells_how_far_a_training_is(tmp_path, capsys):
    write_training(tmp_path / "base", steps=30, done=False)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert main(["status", str(tmp_path)]) == 0
    (line,) = [x for x in capsys.readouterr().out.splitlines() if x.startswith("base ")]
    assert "running, 30 of 40 steps   loss 3.718" in line, line
    assert line.endswith("1.250 bits/byte held out   500 tokens/s   50 % of peak   0:20 left"), line


def test_held_out_values_are_weighted_by_what_they_are_a_mean_of():
    groups = {
        "en": {"loss": 2.0, "bits_per_byte": 1.0, "tokens": 30, "bytes": 90},
        "zh": {"loss": 4.0, "bits_per_byte": 2.0, "tokens": 10, "bytes": 10},
    }
    assert held_out({"groups": groups}, "loss") == 2.5
    assert held_out({"groups": groups}, "bits_per_byte") == pytest.approx(1.1)
    assert held_out({"score": 3.0}, "score") == 3.0
    assert held_out({"n": 0}, "score") is None


def test_a_comparison_tells_values_at_equal_places_and_what_was_set(tmp_path, capsys):
    write_training(tmp_path / "slow" / "base", rate=1e-3, floor=3.5)
    write_training(tmp_path / "fast" / "base", steps=20, total=20)
    png = tmp_path / "curves.png"
    found = lines(capsys, "compare", tmp_path / "slow", tmp_path / "fast", "--png", png)
    text = "\n".join(found)
    at = found.index("loss at equal step (each row)") + 1
    assert found[at].split() == ["step", "slow", "fast", "less", "the", "first"]
    last = found[at + 6].split()
    assert last[0] == "20", "the place that the shorter run ends at"
    assert float(last[2]) == pytest.approx(float(last[1]) - 0.5, abs=1e-3)
    assert last[3] == "−0.5000"
    assert "loss of held-out data, where all runs measured it" in text
    assert "learning_rate" in text
    assert "0.001" in text
    assert not any(line.startswith(("model.hidden_size", "seed", "input")) for line in found)
    assert "another seed" in text
    assert png.read_bytes().startswith(b"\x89PNG")
    png.unlink()
    again = lines(capsys, "compare", tmp_path / "slow", tmp_path / "fast", "--png", png)
    assert again == found


def test_axes_are_steps_tokens_or_seconds(tmp_path):
    run = read_training(write_training(tmp_path / "base", speed=250.0))
    for x, end in (("step", 40), ("tokens", 40_000), ("seconds", 160)):
        curve = curve_of(run, "a", metric="loss", x=x, window=1)
        assert curve.xs[-1] == pytest.approx(end)
        assert [place for place, _ in curve.marks] == pytest.approx(
            [end / 4 * i for i in (1, 2, 3, 4)]
        )
    group = curve_of(run, "a", metric="validation/zh/bits_per_byte", x="step", window=1)
    assert (group.xs, group.values) == ([10, 20, 30, 40], [2.0] * 4)


def test_the_mean_moves_and_stands_in_the_middle():
    values = [1.0, 2.0, 6.0, 3.0, 8.0]
    assert moving_mean(values, 1) == values
    assert moving_mean(values, 3) == pytest.approx([1.5, 3.0, 11 / 3, 17 / 3, 5.5])
    assert moving_mean(values, 100) == pytest.approx([4.0] * 5)


def test_places_end_where_the_shortest_run_does(tmp_path):
    runs = [
        read_training(write_training(tmp_path / "a", steps=40)),
        read_training(write_training(tmp_path / "b", steps=16, floor=1.0)),
    ]
    curves = [curve_of(r, r.name, metric="loss", x="step", window=1) for r in runs]
    found = places(curves)
    assert (found[0], found[-1]) == (2, 16)
    assert all(a - b == pytest.approx(2.0) for a, b in values_at(curves, found))


def test_labels_keep_only_what_tells_runs_apart(tmp_path):
    paths = [tmp_path / "x" / "base", tmp_path / "y" / "base"]
    assert labels_of([read_training(write_training(p)) for p in paths]) == ["x", "y"]
    both = [tmp_path / "x" / "base", tmp_path / "x" / "chat"]
    assert labels_of([read_training(write_training(p)) for p in both]) == ["base", "chat"]


def test_the_runs_of_a_whole_lineage_are_found(tmp_path):
    found = find_runs([write_run(tmp_path / "run")])
    assert {"base", "chat", "reward", "chat-rlhf", "code"} <= {run.stage for run in found}
    assert not {"sources", "documents", "report"} & {run.stage for run in found}


def test_bad_input_is_told_in_one_line(tmp_path, capsys):
    a = write_training(tmp_path / "a" / "base")
    write_training(tmp_path / "a" / "chat")
    (tmp_path / "empty").mkdir()
    missing = tmp_path / "none"
    assert refusal(capsys, missing) == f"openqwen: {missing} is not a directory"
    assert "no training found" in refusal(capsys, tmp_path / "empty")
    assert "at least two trainings" in refusal(capsys, "compare", a)
    assert "holds no training" in refusal(capsys, "compare", a, tmp_path / "empty")
    assert "several trainings (base, chat)" in refusal(capsys, "compare", a, tmp_path / "a")
    said = refusal(capsys, "compare", a, a, "--metric", "los")
    assert "has no rows with los; there are loss, bits_per_byte, tokens_per_s" in said
    assert "validation/en/loss" in said
    assert "--png belongs to comparing" in refusal(capsys, tmp_path, "--png", "x.png")
    assert "must end in .png" in refusal(capsys, "compare", a, a, "--png", "x.svg")
    assert "at least 1 row" in refusal(capsys, "compare", a, a, "--smooth", "0")
