import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from openqwen.cli.main import main
from openqwen.core.files import sha256_file, write_json
from openqwen.core.manifest import Manifest
from openqwen.lineage.registry import STAGES
from openqwen.lineage.run import stage_work
from openqwen.recipes.resolve import resolve


def hashes(run):
    """Return path -> sha256 of all weights and of all else that must not depend on time."""
    skipped = ("manifest.json", "metrics.jsonl", "timings.json", "recipe.toml", ".lock")
    return {
        path.relative_to(run).as_posix(): sha256_file(path)
        for path in sorted(run.rglob("*"))
        if path.is_file() and path.name not in skipped
        if not {"report", "replaced", "events"} & set(path.relative_to(run).parts)
    }


def test_every_stage_ends_with_a_manifest_that_tells_its_inputs(finished):
    for name, stage in STAGES.items():
        manifest = Manifest.read(finished / name)
        assert manifest.stage == name
        assert set(stage.inputs) <= set(manifest.inputs)
        for source in stage.inputs:
            assert manifest.inputs[source] == sha256_file(finished / source / "manifest.json")
        assert manifest.problems(finished / name, hashes=True) == []
        assert manifest.outputs
        assert manifest.peak_memory_bytes > 10_000_000
        assert manifest.versions["torch"]


def test_training_learnt_something_and_told_it(finished):
    rows = [json.loads(line) for line in (finished / "base" / "metrics.jsonl").open()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert losses[-1] < losses[0]
    validations = [row for row in rows if row["kind"] == "validation"]
    assert [row["step"] for row in validations] == [8, 16, 24]
    assert {"en", "code"} <= set(validations[-1]["groups"])
    assert all(0 < m["bits_per_byte"] < 16 for m in validations[-1]["groups"].values())


def test_the_reward_stages_table_is_what_training_measured_before_and_after(finished):
    counts = Manifest.read(finished / "reward").counts
    table = json.loads((finished / "reward" / "evaluation.json").read_text())
    assert table == {"PMP": counts["before"]["by_source"], "RM": counts["validation"]["by_source"]}
    assert table["PMP"] != table["RM"]
    assert table["RM"]["pairs"]["n"] == counts["pairs"]["validation"] > 0


def test_the_export_loads_in_transformers_with_equal_logits(finished):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import openqwen

    lm = openqwen.load(finished / "base", dtype="float32")
    theirs = AutoModelForCausalLM.from_pretrained(finished / "base", dtype=torch.float32)
    text = "def main(argv):\n    数据 <|im_end|>"
    ids = lm.tokenizer.encode(text)
    their_tokenizer = AutoTokenizer.from_pretrained(finished / "base")
    assert their_tokenizer(text, split_special_tokens=True)["input_ids"] == ids
    with torch.no_grad():
        expected = theirs(torch.tensor([ids])).logits
    torch.testing.assert_close(lm.logits([ids]), expected, atol=1e-5, rtol=0)


def test_long_context_rows_agree_up_to_the_training_length(finished):
    results = json.loads((finished / "longcontext" / "results.json").read_text())
    assert results["lengths"] == [16, 32, 64, 128]
    rows = {row["method"]: row["cells"] for row in results["rows"]}
    plain = rows["no method"]
    for cells in rows.values():
        assert [c["perplexity"] for c in cells[:2]] == [c["perplexity"] for c in plain[:2]]
    assert len({cells[3]["perplexity"] for cells in rows.values()}) == len(rows)


def test_a_finished_run_does_nothing_and_says_so_quickly(finished, small_recipe, capsys):
    before = hashes(finished)
    started = time.monotonic()
    command = [sys.executable, "-m", "openqwen", "run", str(small_recipe), "--out", str(finished)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "nothing to do" in done.stdout
    assert time.monotonic() - started < 3
    assert hashes(finished) == before


def test_status_tells_done_and_damaged(finished, capsys):
    assert main(["status", str(finished), "--verify"]) == 0
    assert "every file of the finished stages" in capsys.readouterr().out
    shard = finished / "shards" / "train.npy"
    data = shard.read_bytes()
    try:
        shard.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        assert main(["status", str(finished)]) == 0
        assert main(["status", str(finished), "--verify"]) == 1
        assert "train.npy has other bytes" in capsys.readouterr().out
    finally:
        shard.write_bytes(data)


def test_a_kill_after_the_manifest_costs_nothing(finished, small_recipe, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    (out / "base" / "scratch" / "checkpoints").mkdir(parents=True)
    (out / "base" / "scratch" / "checkpoints" / "state.safetensors").write_bytes(b"old")
    (out / "base" / "started.json").write_text("{}")
    assert main(["run", str(small_recipe), "--out", str(out)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert hashes(out) == hashes(finished)


def test_a_kill_before_the_manifest_makes_the_stage_again(finished, small_recipe, tmp_path):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    stage = STAGES["longcontext"]
    work = stage_work(stage, resolve(str(small_recipe)).recipe, out)
    (out / "longcontext" / "manifest.json").unlink()
    write_json(out / "longcontext" / "started.json", work.identity("longcontext"))
    (out / ".removed-report").mkdir()  # and one while a stage was being discarded
    assert main(["run", str(small_recipe), "--out", str(out)]) == 0
    assert hashes(out) == hashes(finished)
    assert main(["status", str(out), "--verify"]) == 0


def test_a_torn_first_file_is_no_foreign_file(small_recipe, tmp_path):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "started.json.partial").write_text('{"sta')
    arguments = ["run", str(small_recipe), "--out", str(tmp_path), "--until", "sources"]
    assert main(arguments) == 0


def test_a_changed_setting_redoes_what_depends_on_it_and_keeps_the_old(
    finished, small_recipe, tmp_path, capsys
):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    code = main(
        [
            "run",
            str(small_recipe),
            "--out",
            str(out),
            "--until",
            "base",
            "--set",
            "base.num_steps=8",
        ]
    )
    said = capsys.readouterr().out
    assert code == 0
    assert "num_steps 24 → 8" in said
    assert [line.split()[0] for line in said.splitlines() if "done before" in line] == [
        "sources",
        "documents",
        "tokenizer",
        "shards",
    ]
    replaced = list((out / "replaced").glob("base-*"))
    assert len(replaced) == 1
    weights = "model.safetensors"
    assert sha256_file(replaced[0] / weights) == sha256_file(finished / "base" / weights)
    assert sha256_file(out / "base" / weights) != sha256_file(finished / "base" / weights)


def test_the_report_can_be_written_anew_at_any_time(finished, tmp_path, capsys):
    out = tmp_path / "copy"
    shutil.copytree(finished, out)
    (out / "report" / "report.html").write_text("spoilt")
    assert main(["report", str(out)]) == 0
    assert main(["status", str(out), "--verify"]) == 0
    shutil.rmtree(out / "longcontext")
    assert main(["report", str(out)]) == 0
    assert (out / "report-so-far" / "report.md").is_file()
    assert main(["report", str(tmp_path / "nothing")]) == 2


def test_one_process_at_a_time(finished, small_recipe, capsys):
    import fcntl

    with (finished / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main(["run", str(small_recipe), "--out", str(finished)]) == 2
    assert "is in use by another openqwen process" in capsys.readouterr().err


def test_a_handful_of_pages_goes_all_the_way(corpus, small_recipe, tmp_path, capsys):
    pages = tmp_path / "pages"
    pages.mkdir()
    for name in ("argparse", "json", "logging", "pathlib", "typing"):
        (pages / f"{name}.html").write_bytes((corpus / f"{name}.html").read_bytes())
    changed = ("base.num_steps=2", f'sources.paths=["{pages}"]', "tokenizer.num_ranks=20000")
    changed += ("longcontext.length_multiples=[1024]",)
    arguments = [part for assignment in changed for part in ("--set", assignment)]
    run = ["run", str(small_recipe), "--out", str(tmp_path / "run"), "--until", "longcontext"]
    code = main([*run, *arguments])
    said = capsys.readouterr().out
    assert code == 0
    assert "ranks only, not for tokenizer.num_ranks = 20,000" in said
    assert "nothing is measured: the longest held-out document has" in said
    assert main(["report", str(tmp_path / "run")]) == 0
    report = (tmp_path / "run" / "report-so-far" / "report.md").read_text()
    assert "Nothing was measured: the longest held-out document has" in report


def test_foreign_files_are_not_overwritten(small_recipe, tmp_path, capsys):
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "thesis.txt").write_text("mine")
    assert main(["run", str(small_recipe), "--out", str(tmp_path)]) == 2
    assert "holds files that no stage of openqwen wrote" in capsys.readouterr().err
    assert (tmp_path / "sources" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("seed", "most"), [(1, 5), pytest.param(2, len(STAGES), marks=pytest.mark.slow)]
)
def test_killed_anywhere_and_started_again_it_ends_with_the_same_bytes(
    finished, small_recipe, tmp_path, seed, most
):
    """Kill at moments drawn from the seed, in so many stages, the base among them."""
    draw = random.Random(seed)
    others = draw.sample([name for name in STAGES if name != "base"], most - 1)
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "openqwen", "run", str(small_recipe), "--out", str(out)]
    kills = []
    for name in STAGES:
        if name not in ("base", *others):
            continue
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
        )
        while not (out / name / "started.json").is_file() and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.8 * Manifest.read(finished / name).seconds))
        kills.append((name, (out / name / "manifest.json").is_file()))
        with contextlib.suppress(ProcessLookupError):  # a busy neighbour can stretch what was timed
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    print("seed", seed, "kills", kills)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert hashes(out) == hashes(finished)
    steps = re.findall(r'"kind": "train", "step": (\d+)', (out / "base/metrics.jsonl").read_text())
    assert [int(s) for s in steps] == [4, 8, 12, 16, 20, 24]
