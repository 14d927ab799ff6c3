"""The training benchmarks' rows, tables and places in the docs; nothing is timed here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import train_profile  # noqa: E402
import train_speed  # noqa: E402
import train_table  # noqa: E402
from train_table import parts, table, write_parts  # noqa: E402

from openqwen.model.config import count_parameters  # noqa: E402


def row(impl: str, rate: float, memory: float, *, model: str = "s") -> dict:
    return {
        "model": model,
        "impl": impl,
        "setting": "compiled",
        "tokens_per_s": rate,
        "samples": [rate - 1, rate, rate + 1],
        "disturbed_samples": [7.0] if impl == "litgpt" else [],
        "peak_memory_bytes": memory,
        "compile_seconds": None if impl == "openqwen" else 20.04,
        "compile_seconds_cached": 1.5,
        "share_of_peak": 0.41,
        "peak_tflops": 0.93,
        "best_shape_tflops": 1.01,
        "versions": {"torch": "2.13.0", impl: "9.9"},
    }


def test_a_table_compares_with_the_fastest_peer_and_marks_what_is_short():
    rows = [row("openqwen", 1500, 2e9), row("transformers", 900, 1e9), row("litgpt", 1000, 3e9)]
    text = table(rows)
    assert (
        "| litgpt 9.9 | compiled | 1,000 | 999, 1,000, 1,001 (7) | 3.00 GB | 20.0 s / 1.5 s" in text
    )
    assert "| openqwen 9.9 | compiled | 1,500 | 1,499, 1,500, 1,501 | 2.00 GB | – / 1.5 s" in text
    assert "openqwen is 1.50 × the fastest peer (litgpt)" in text
    assert "to reach 1.4 ×: reached, at best 2.0 ×: **short**" in text
    assert "peak memory is 0.67 × that peer's; to stay below: reached" in text


def test_a_run_of_one_model_leaves_the_others_parts(tmp_path):
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\n<!-- begin other -->\nkept\n<!-- end other -->\n")
    write_parts(page, "train_speed", "Speed", "Opening.", {"tiny, 8 parameters": "t"})
    write_parts(page, "train_speed", "Speed", "Opening.", {"m, 9 parameters": "first"})
    write_parts(
        page, "train_speed", "Speed", "Opening.", {"m, 9 parameters": "second", "s, 1": "s"}
    )
    section = train_table.current_section(page, "train_speed")
    assert parts(section) == {"s, 1": "s", "m, 9 parameters": "second", "tiny, 8 parameters": "t"}
    assert section.index("### s") < section.index("### m") < section.index("### tiny")
    assert section.count("Opening.") == 1
    assert "kept" in page.read_text()


def test_a_profile_gains_columns_and_replaces_its_own():
    first = dict.fromkeys(train_profile.PARTS, 10.0)
    body = train_profile.with_column("", "before", first, "one")
    body = train_profile.with_column(body, "after", first | {train_profile.HEAD: 40.0}, "two")
    body = train_profile.with_column(body, "before", first | {train_profile.HEAD: 70.0}, "three")
    columns = train_profile.columns(body)
    assert list(columns) == ["before", "after"]
    assert columns["before"][train_profile.PARTS.index(train_profile.HEAD)] == "70 (54 %)"
    assert columns["after"][-1] == "**100**"
    assert body.endswith("- after: two\n- before: three")
    assert "one" not in body


@pytest.mark.parametrize(
    ("ranges", "name", "shapes", "part"),
    [
        ("", "aten::mm", [[64, 384], [384, 1152]], train_profile.PRODUCTS),
        ("", "aten::mm", [[64, 384], [384, 512]], train_profile.HEAD),
        ("aten::copy_ < part:optimiser", "aten::add_", [[512, 384]], train_profile.OPTIMISER),
        ("", "kernel:attend_backward", [], train_profile.ATTENTION),
        ("kernel:norm", "aten::empty_like", [], train_profile.BETWEEN),
        ("kernel:adamw < part:optimiser", "aten::empty", [], train_profile.OPTIMISER),
        ("", "aten::embedding_dense_backward", [[64, 384]], train_profile.EMBEDDING),
        ("", "graph_0_cpp_fused__log_softmax_0", [], train_profile.HEAD),
        ("", "Torch-Compiled Region", [], train_profile.REST),
    ],
)
def test_operations_are_put_down_to_parts(ranges, name, shapes, part):
    assert train_profile.part_of(ranges, name, shapes, 512) == part


def test_a_profile_adds_up_to_the_step():
    operations = [
        ["", "aten::mm", "[[64, 384], [384, 1152]]", 0.6],
        ["", "aten::mul", "[[64, 384]]", 0.2],
    ]
    found = train_profile.by_part({"seconds": 1.0, "operations": operations}, 512, 2, 2)
    assert found[train_profile.PRODUCTS] == pytest.approx(150)
    assert found[train_profile.BETWEEN] == pytest.approx(50)
    assert sum(found.values()) == pytest.approx(500)


def test_models_s_and_m_are_the_contracts():
    # 2·V·D + L·(4·D² + 3·D·F + biases 3·D + norms 2·D) + D
    sizes = {"s": 2 * 32_768 * 384 + 6 * (4 * 384**2 + 3 * 384 * 1024 + 5 * 384) + 384}
    sizes["m"] = 2 * 32_768 * 768 + 12 * (4 * 768**2 + 3 * 768 * 2048 + 5 * 768) + 768
    for name, count in sizes.items():
        job = train_speed.job_of(name)
        assert count_parameters(train_speed.shape_of(job)) == count
        assert (job["context"], job["sequences"]) == (1024, 4)


def test_our_child_takes_steps_and_tells_of_itself():
    job = train_speed.job_of("s") | {
        "vocab_size": 64,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "context": 8,
        "threads": 1,
    }
    command = [sys.executable, str(ROOT / "benchmarks" / "train_ours.py"), "--job", json.dumps(job)]
    questions = [{"task": "steps", "count": 2}, {"task": "memory"}, {"task": "peak"}]
    answers = subprocess.run(
        command,
        input="".join(json.dumps(q) + "\n" for q in questions),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    about, steps, memory, peak = (json.loads(line) for line in answers)
    assert set(about["versions"]) == {"torch", "openqwen"}
    assert len(steps["losses"]) == 2
    assert 3.5 < steps["losses"][0] < 5
    assert steps["seconds"] > 0
    assert memory["bytes"] >= 0
    assert peak["best_flops_per_s"] >= peak["flops_per_s"] > 0
