"""What people do with a model of theirs: tune, merge, talk, train a reward model, measure it."""

import json

import pytest
import torch

import openqwen
from openqwen.cli.main import main
from openqwen.core.log import read_metrics
from openqwen.core.manifest import Manifest

# a model of this size needs a larger learning rate than the recipe's for a loss that falls visibly
QUICK = (
    *("num_epochs=6", "sequences_per_step=2", "context_length=160", "warmup_steps=0"),
    "learning_rate=5e-3",
)


@pytest.fixture
def mine(tmp_path):
    """Eight conversations and three rows that are none."""
    path = tmp_path / "mine.jsonl"
    rows = [{"instruction": f"Say {i}", "output": f"I say {i}."} for i in range(8)]
    rows += [{"messages": [{"role": "user", "content": "hi"}]}, {"x": 1}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    return path


def tune(base, data, out, *more):
    settings = [part for setting in QUICK for part in ("--set", f"chat.{setting}")]
    return main(["sft", str(base), "--data", str(data), "--out", str(out), *settings, *more])


def test_from_own_conversations_over_an_adapter_to_a_model(finished, mine, tmp_path, capsys):
    adapter, merged = tmp_path / "mine" / "chat", tmp_path / "merged"
    assert tune(finished / "chat", mine, adapter, "--lora") == 0
    said = capsys.readouterr().out
    assert "set aside 3: " in said
    counts = Manifest.read(adapter).counts
    assert counts["trained_parameters"] < counts["parameters"]
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["r"] == 16
    losses = [r["loss"] for r in read_metrics(adapter / "metrics.jsonl") if r["kind"] == "train"]
    assert losses[-1] < losses[0]
    assert main(["merge", str(adapter), "--out", str(merged)]) == 0
    lms = [openqwen.load(path, dtype="float32") for path in (adapter, merged, finished / "chat")]
    unmerged, whole, before = (lm.logits([[1, 2, 3]]) for lm in lms)
    torch.testing.assert_close(whole, unmerged, atol=2e-2, rtol=0)  # the merged one is bfloat16
    assert not torch.equal(whole, before)
    assert main(["report", str(adapter.parent)]) == 0
    assert "Loss on answers" in (adapter.parent / "report-so-far" / "report.md").read_text()
    assert tune(finished / "chat", mine, adapter, "--lora") == 0
    assert "done before" in capsys.readouterr().out


def test_without_lora_all_weights_are_trained(finished, mine, tmp_path):
    assert tune(finished / "chat", mine, tmp_path / "chat") == 0
    counts = Manifest.read(tmp_path / "chat").counts
    assert counts["trained_parameters"] == counts["parameters"]
    assert not (tmp_path / "chat" / "adapter_config.json").exists()


def test_masks_are_shown_and_nothing_is_trained(finished, mine, tmp_path, capsys):
    command = ["sft", str(finished / "chat"), "--data", str(mine), "--show-masks"]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "<|im_start|>user\nSay 0<|im_end|>\n<|im_start|>assistant\n⟦I say 0.<|im_end|>⟧" in said
    assert "set aside 3: " in said


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--data", "mine.jsonl"], "--out is missing"),
        (["--data", "none.jsonl", "--out", "x"], "none.jsonl does not exist"),
        (["--data", "mine.jsonl", "--out", "x", "--set", "chat.num_steps=5"], "set one of the two"),
    ],
)
def test_a_mistake_is_one_line(finished, mine, capsys, monkeypatch, arguments, complaint):
    monkeypatch.chdir(mine.parent)
    assert main(["sft", str(finished / "chat"), *arguments]) == 2
    assert complaint in capsys.readouterr().err


def test_a_reward_model_is_trained_and_measured(finished, pairs, tmp_path, capsys):
    command = [
        "reward",
        str(finished / "base"),
        "--data",
        str(pairs),
        "--out",
        str(tmp_path / "rm"),
    ]
    command += ["--set", "reward.max_tokens=160", "--set", "reward.num_epochs=1"]
    assert main(command) == 0
    table = json.loads((tmp_path / "rm" / "evaluation.json").read_text())
    assert list(table) == ["RM"]
    evaluate = ["eval", str(tmp_path / "rm"), "--suite", "reward", "--data", str(pairs)]
    assert main([*evaluate, "--out", str(tmp_path / "table.json")]) == 0
    said = capsys.readouterr().out
    assert "pairs, n = 40" in said
    assert "the report's PMP: " in said
    (measured,) = json.loads((tmp_path / "table.json").read_text()).values()
    assert 0 <= measured["pairs"]["accuracy"] <= 1
    assert main(["eval", str(finished / "base"), "--suite", "reward", "--data", str(pairs)]) == 2
    assert "has no score head" in capsys.readouterr().err
