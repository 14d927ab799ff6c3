"""`openqwen plan`: its formulas beside the code they are about, its answers, its refusals."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from openqwen.cli.main import main
from openqwen.model.config import QWEN_1_8B, QWEN_7B, QWEN_14B, count_parameters, qwen_config
from openqwen.model.decoder import Decoder, new_decoder
from openqwen.parallel.plan_communication import Group, traffic_of
from openqwen.parallel.plan_devices import device_names, find_device
from openqwen.parallel.plan_layout import Job, Layout
from openqwen.parallel.plan_memory import (
    memory_of,
    saved_bytes,
    sharded_parameters,
    whole_parameters,
)
from openqwen.parallel.plan_search import best_of_mesh, fits, meshes, search, why_not
from openqwen.parallel.plan_speed import speed_of
from openqwen.parallel.recompute import apply_recompute
from openqwen.parallel.unpack import unpack_projections
from openqwen.recipes.resolve import resolve

ROOT = Path(__file__).parents[2]
H100 = find_device("h100-80g")
REPORTS_14B = Job(QWEN_14B, H100, 64, 2048, 2048)
EXAMPLE = ["plan", "--model", "14b", "--gpus", "64", "--gpu", "h100-80g"]


def small_decoder(num_layers: int, *, kv_heads: int, recompute: str = "none") -> Decoder:
    config = qwen_config(
        hidden_size=64, num_attention_heads=4, num_hidden_layers=num_layers, vocab_size=128
    )
    config = config.model_copy(update={"num_key_value_heads": kv_heads})
    model = new_decoder(config, seed=0).to(torch.bfloat16).train()
    unpack_projections(model)
    apply_recompute(model, recompute)
    return model


def saved_for_backward(model: Decoder, ids_BT: torch.Tensor) -> int:
    """Return the bytes of all storages that autograd keeps and that are no parameters."""
    storages = {p.untyped_storage().data_ptr(): 0 for p in model.parameters()}
    kept = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        storages.setdefault(storage.data_ptr(), storage.nbytes())
        kept.append(tensor)  # or its address may be taken again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        kept.append(model.hidden(ids_BT))
    return sum(storages.values())


@pytest.mark.parametrize("recompute", ["none", "layer"])
@pytest.mark.parametrize(("kv_heads", "rows", "length"), [(4, 1, 16), (2, 3, 8)])
def test_a_layer_saves_for_the_backward_pass_what_the_plan_says(kv_heads, rows, length, recompute):
    ids_BT = torch.zeros(rows, length, dtype=torch.int64)
    two, three = (
        saved_for_backward(small_decoder(n, kv_heads=kv_heads, recompute=recompute), ids_BT)
        for n in (2, 3)
    )
    config = small_decoder(1, kv_heads=kv_heads).config
    job = Job(config, find_device("cpu"), 2, length, 2 * rows)
    layout = Layout(shard=2, micro_sequences=rows, recompute=recompute)
    assert three - two == saved_bytes(job, layout)


def test_whole_and_sharded_parameters_are_those_of_the_model():
    for config in (QWEN_1_8B, QWEN_7B, QWEN_14B):
        root, layer = whole_parameters(config, tensor=1)
        assert root + config.num_hidden_layers * layer == count_parameters(config)
        assert sharded_parameters(config, shards=1, tensor=1) == count_parameters(config)
        assert 64 * sharded_parameters(config, shards=64, tensor=1) == count_parameters(config)
    # 5,120 rows over 3 ranks: the first hold 1,707, which the ranks together would have too many of
    uneven = 3 * sharded_parameters(QWEN_14B, shards=3, tensor=1)
    assert count_parameters(QWEN_14B) < uneven < 1.001 * count_parameters(QWEN_14B)


def test_memory_falls_with_every_axis_and_with_recomputation():
    def total(**changes) -> int:
        layout = replace(Layout(shard=8, micro_sequences=2), **changes)
        job = replace(REPORTS_14B, num_devices=layout.num_devices)
        return memory_of(job, layout).total

    plain = total()
    assert total(shard=16) < plain
    assert total(tensor=2) < plain
    assert total(context=2) < plain
    assert total(recompute="layer") < plain
    assert total(micro_sequences=4) > plain
    assert total(replicate=2) == plain


def test_memory_is_the_sum_of_its_parts_and_masters_moments_gradients_are_16_bytes_a_parameter():
    memory = memory_of(REPORTS_14B, Layout(shard=64))
    assert memory.total == sum(memory.parts().values())
    own = count_parameters(QWEN_14B) // 64
    assert memory.masters + memory.moments + memory.gradients == 16 * own


def test_one_process_holds_the_masters_beside_the_model():
    job = Job(QWEN_1_8B, H100, 1, 2048, 2048)
    memory = memory_of(job, Layout())
    assert memory.gathered == 2 * count_parameters(QWEN_1_8B)
    assert memory.masters == 4 * count_parameters(QWEN_1_8B)


def test_a_ring_inside_a_node_uses_its_links_and_one_over_nodes_the_cards_of_its_members():
    total = 1e9
    inside, over = Group(8, 1, H100), Group(64, 1, H100)
    thin = Group(8, 8, H100)  # one member a node: tensor parallel has the other seven
    assert (inside.nodes, over.nodes, thin.nodes) == (1, 8, 8)
    hops = 7 * 3.4e-6
    assert inside.gather_s(total, 1.0) == pytest.approx(7 / 8 * total / 450e9 + hops)
    assert over.gather_s(total, 1.0) == pytest.approx(
        7 / 8 * total / (8 * 50e9) + 56 * 3.4e-6 + 8 * 14e-6
    )
    assert thin.gather_s(total, 1.0) > 7 * over.gather_s(total, 1.0)
    assert Group(1, 1, H100).gather_s(total, 1.0) == 0


def test_a_step_sends_each_layer_twice_gathered_and_once_scattered_in_every_micro_batch():
    layout = Layout(shard=64, micro_sequences=2)
    traffic = {t.what: t for t in traffic_of(REPORTS_14B, layout)}
    assert set(traffic) == {
        "gather layers",
        "scatter gradients",
        "gather vocabulary",
        "scatter vocabulary",
    }
    micro_batches, layers = 2048 // (64 * 2), 40
    assert traffic["gather layers"].calls_per_step == 2 * layers * micro_batches
    received = 2 * micro_batches * 2 * 40 * whole_parameters(QWEN_14B, tensor=1)[1] * 63 / 64
    assert traffic["gather layers"].bytes_per_step == pytest.approx(received, rel=1e-9)
    axes = {t.axis for t in traffic_of(REPORTS_14B, Layout(2, 4, 2, 4, micro_sequences=4))}
    assert axes == {"shard", "replicate", "tensor", "context"}
    assert traffic_of(replace(REPORTS_14B, num_devices=1), Layout()) == []


def test_mfu_tokens_a_second_and_days_agree_with_the_contracts_flops():
    flops = REPORTS_14B.flops_per_token
    weights = count_parameters(QWEN_14B) - 152_064 * 5120  # all but the embedding's table
    assert flops == 6 * weights + 6 * 40 * 2048 * 5120
    speed = speed_of(REPORTS_14B, Layout(shard=64, micro_sequences=2))
    for end in (speed.low, speed.expected, speed.high):
        assert end.mfu == pytest.approx(end.tokens_per_s * flops / 64 / H100.peak_flops_per_s)
        assert end.tokens_per_s == pytest.approx(REPORTS_14B.tokens_per_step / end.step_s)
        assert end.days(3e12) == pytest.approx(3e12 / end.tokens_per_s / 86_400)
    assert speed.low.mfu < speed.expected.mfu < speed.high.mfu < H100.compute_share * 1.25


def test_recomputation_costs_time_and_a_device_taken_over_has_a_wider_range():
    layout = Layout(shard=64, micro_sequences=2)
    plain = speed_of(REPORTS_14B, layout).expected.step_s
    assert speed_of(REPORTS_14B, replace(layout, recompute="layer")).expected.step_s > plain
    sure, unsure = (
        speed_of(replace(REPORTS_14B, device=find_device(name)), layout)
        for name in ("h100-80g", "b200")
    )
    assert unsure.high.mfu / unsure.low.mfu > sure.high.mfu / sure.low.mfu


def test_the_recommended_layout_fits_and_is_among_the_fastest():
    plan = search(REPORTS_14B)
    best = plan.best
    assert fits(REPORTS_14B, best)
    assert best.layout.num_devices == 64
    fastest = max(option.speed.expected.tokens_per_s for option in plan.options)
    assert best.speed.expected.tokens_per_s >= 0.99 * fastest
    assert len(plan.options) + len(plan.rejected) == len(list(meshes(REPORTS_14B)))
    replicas = next(r for r in plan.rejected if r.layout.replicate == 64)
    assert "needs 225." in replicas.reason
    assert "GiB of 80.0 even with micro-batch 1 and recompute layer" in replicas.reason
    for option in plan.options:
        assert option.layout.tensor <= 8, "tensor parallel stays in a node"


def test_a_smaller_memory_is_met_by_recomputation_before_it_is_refused():
    small = replace(REPORTS_14B, device=replace(H100, memory_bytes=30 << 30))
    option = best_of_mesh(small, Layout(shard=64))
    assert fits(small, option)
    assert option.layout.recompute == "layer"


def test_among_equal_speeds_a_micro_batch_has_enough_tokens_for_the_products():
    alone = Job(QWEN_1_8B, H100, 1, 2048, 2048)
    assert best_of_mesh(alone, Layout()).layout.micro_sequences == 2
    assert best_of_mesh(replace(alone, context_length=512), Layout()).layout.micro_sequences == 8


def test_what_a_mesh_must_divide():
    assert why_not(REPORTS_14B, Layout(shard=4, tensor=16)) == (
        "tensor = 16 does not divide 40 attention heads"
    )
    assert "3 data ranks do not divide 2,048" in why_not(REPORTS_14B, Layout(shard=3))
    odd = replace(REPORTS_14B, context_length=2050, num_devices=4)
    assert "context = 4 does not cut 2,050 tokens" in why_not(odd, Layout(context=4))
    assert why_not(REPORTS_14B, Layout(shard=64)) == ""


def test_every_device_names_where_its_figures_come_from():
    for name in device_names():
        device = find_device(name.upper())
        assert device.name == name
        assert device.source
        assert device.calibration
        assert 0 < device.compute_share < 1


def test_the_plan_says_what_was_asked(capsys):
    assert main([*EXAMPLE, "--context", "2048", "--batch-tokens", "4M"]) == 0
    out = capsys.readouterr().out
    assert "14,167,290,880 parameters" in out
    assert "2,048 sequences of 2,048 tokens = 4,194,304 a step" in out
    assert "recommended   shard 64, micro-batch" in out
    assert "days for 3 T tokens" in out
    assert "the report trained Qwen-14B on 3.0 T tokens, 4 M a step (Table 1)" in out
    assert "layouts that can't be used" in out
    for part in ("masters", "moments", "activations", "reserve", "together"):
        assert f"\n  {part} " in out


def test_json_has_the_same_answer_in_bytes_and_seconds(capsys):
    assert main([*EXAMPLE, "--json", "--tokens", "1T"]) == 0
    data = json.loads(capsys.readouterr().out)
    best = data["recommended"]
    assert best["fits"] is True
    assert best["layout"]["shard"] == 64
    parts = dict(best["memory_bytes"])
    assert parts.pop("total") == sum(parts.values())
    assert best["speed"]["low"]["days"] > best["speed"]["high"]["days"]
    assert data["num_tokens"] == 1e12
    assert data["rejected"][0]["reason"]


def test_one_layout_can_be_priced_even_if_it_does_not_fit(capsys):
    assert main([*EXAMPLE, "--what-if", "tensor=4,shard=16,recompute=layer"]) == 0
    out = capsys.readouterr().out
    assert "what if       shard 16 × tensor 4, micro-batch" in out
    settings = "--set base.parallel.shard=16 --set base.parallel.tensor=4 "
    assert settings + "--set base.parallel.recompute=layer" in out
    assert "tensor: sum activations" in out
    assert main([*EXAMPLE, "--what-if", "replicate=64,micro=1"]) == 0
    assert "DOES NOT FIT" in capsys.readouterr().out


def test_the_settings_it_prints_are_settings_of_a_recipe(capsys):
    assert main([*EXAMPLE, "--what-if", "replicate=2,context=2,tensor=2,recompute=layer"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if "--set" in x)
    given = [word for word in line.split() if word != "--set"]
    training = resolve("mini", given[:-1]).recipe.base.parallel
    assert (training.replicate, training.shard, training.context, training.tensor) == (2, 8, 2, 2)
    assert training.recompute == "layer"
    assert given[-1].startswith("base.micro_sequences=")


def test_models_by_shape_by_recipe_and_by_directory(capsys, tmp_path):
    assert main(["plan", "--hidden", "1024", "--layers", "8", "--gpus", "8", "--json"]) == 0
    by_shape = json.loads(capsys.readouterr().out)["job"]
    expected = qwen_config(
        hidden_size=1024, num_attention_heads=8, num_hidden_layers=8, vocab_size=151_936
    )
    assert by_shape["parameters"] == count_parameters(expected)
    assert main(["plan", "--model", "mini", "--gpus", "2", "--gpu", "cpu", "--json"]) == 0
    capsys.readouterr()
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "qwen2",
                "hidden_size": 896,
                "num_hidden_layers": 24,
                "num_attention_heads": 14,
                "num_key_value_heads": 2,
                "intermediate_size": 4864,
                "vocab_size": 151_936,
                "tie_word_embeddings": True,
                "max_position_embeddings": 2048,
            }
        )
    )
    assert main(["plan", "--model", str(tmp_path), "--gpus", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["job"]["parameters"] == 494_032_768


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--gpu", "h100"], "--gpu h100: no such device; did you mean h100-80g? Known: a100-40g"),
        (["--model", "41b"], "--model 41b: no such model; did you mean 14b?"),
        (["--batch-tokens", "4000000"], "no whole number of sequences of 2,048; 3,999,744 are"),
        (["--batch-tokens", "many"], "--batch-tokens many: not a positive number"),
        (["--gpus", "2"], "no layout of 2 × h100-80g holds this model; the smallest, "),
        (["--gpus", "7"], "2,048 sequences of 2,048 tokens can't be shared out over 7 devices"),
        (["--gpus", "0"], "--gpus 0: must be at least 1"),
        (["--mfu", "40"], "--mfu 40.0: a share of the peak, above 0 and at most 1"),
        (["--what-if", "tensr=4"], "--what-if tensr=4: not one of replicate, shard, context"),
        (["--what-if", "tensor=3,shard=2"], "shard 2 × tensor 3 are 6 devices, not 64"),
        (["--what-if", "shard=4,tensor=16"], "tensor = 16 does not divide 40 attention heads"),
        (["--what-if", "recompute=all"], "recompute must be none or layer"),
        (["--what-if", "micro=3"], "micro = 3 does not divide a data rank's sequences"),
    ],
)
def test_a_request_that_cannot_be_met_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert main([*EXAMPLE, *arguments]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_without_a_model_one_line_says_what_to_give(capsys):
    assert main(["plan"]) == 2
    assert "which model? Give --model 14b, or --hidden and --layers" in capsys.readouterr().err


def test_planning_needs_no_torch():
    code = (
        "import sys; from openqwen.cli.main import main; "
        f"assert main({EXAMPLE!r}) == 0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)


@pytest.mark.slow
def test_the_plan_is_within_5_percent_of_the_code_on_64_pretended_ranks():
    code = (
        "import warnings; warnings.simplefilter('ignore'); import torch.distributed as dist;"
        "from plan_validation import CASES, FakeStore, PARTS, compare_memory, _off;"
        "dist.init_process_group('fake', store=FakeStore(), rank=0, world_size=64);"
        "rows = [compare_memory(*case) for case in CASES];"
        "off = [(r['layout'], p, _off(r, p)) for r in rows for p in PARTS];"
        "bad = [o for o in off if abs(o[2]) > 0.05]; assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT / "benchmarks")
