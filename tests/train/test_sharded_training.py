from functools import partial

import pytest
import torch
import transformers
from ranks import run_ranks
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from openqwen.core.workers import Workers
from openqwen.model.config import qwen_config
from openqwen.model.decoder import Decoder, draw_weights, new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import describe_export
from openqwen.model.likelihood import IGNORED
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.mesh import open_mesh
from openqwen.train.checkpoint import save_checkpoint
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.sharded import ShardedAdamW
from openqwen.train.sharded_checkpoint import load_newest, save_sharded
from openqwen.train.sharded_export import write_shares
from openqwen.train.sharded_state import packed_state
from openqwen.train.step import next_token_step

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=64, train_length=16
)


def config(**sizes):
    # a large epsilon: with 1e-8 Adam turns rounding of near-zero gradients into whole steps
    return PretrainConfig(
        num_steps=10, learning_rate=1e-2, epsilon=1e-3, parallel=ParallelConfig(**sizes)
    )


def batch(seed, rows=8, length=16):
    ids = torch.randint(64, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].clone()
    targets[0, :5] = IGNORED  # micro-batches of unequal counts
    return inputs, targets


def run_steps(model, optimiser, *, first=0, steps=3, micro_sequences=2):
    losses = []
    with Workers(1) as workers:
        for step in range(first, first + steps):
            loss, norm = next_token_step(
                model,
                optimiser,
                *batch(step),
                micro_sequences=micro_sequences,
                learning_rate=1e-2,
                workers=workers,
            )
            losses.append([float(loss), float(norm)])
    return torch.tensor(losses, dtype=torch.float64)


def whole_state(optimiser):
    tensors = {
        name: t.full_tensor() if isinstance(t, DTensor) else t
        for name, t in optimiser.state().items()
    }
    return dict(packed_state(tensors, optimiser.layout))


def one_process(dtype, **options):
    model = new_decoder(SHAPE, seed=1)
    optimiser = MasterAdamW(model, config(), compute_dtype=dtype)
    losses = run_steps(model, optimiser, **options)
    return losses, optimiser.state()


def on_ranks(sizes, dtype, options):
    model = new_decoder(SHAPE, seed=1)
    settings = config(**sizes)
    mesh = open_mesh(settings.parallel, torch.device("cpu"))
    optimiser = ShardedAdamW(model, settings, mesh, compute_dtype=dtype)
    losses = run_steps(model, optimiser, **options)
    held = sum(m.numel() for m in optimiser.masters)
    return {"losses": losses, "state": whole_state(optimiser), "held": held}


MESHES = [
    (1, {}),
    (2, {}),
    (4, {}),
    (4, {"replicate": 2}),
    (4, {"tensor": 2}),
    (4, {"context": 2}),
    (4, {"replicate": 2, "context": 2, "shard": 1}),
    (2, {"recompute": "layer"}),
]


@pytest.mark.dist
@pytest.mark.parametrize(("count", "sizes"), MESHES, ids=str)
def test_many_ranks_train_as_one_process_to_the_order_of_sums(count, sizes):
    losses, state = one_process(torch.float32)
    results = run_ranks(on_ranks, count, sizes, torch.float32, {})
    parameters = sum(p.numel() for p in new_decoder(SHAPE, seed=1).parameters())
    for result in results:
        assert_close(result["losses"], losses, rtol=1e-5, atol=0)
        assert result["held"] == pytest.approx(
            parameters / (count // sizes.get("replicate", 1)), rel=0.02
        )
        assert result["state"].keys() == state.keys()
        for name, value in state.items():
            assert_close(result["state"][name], value, rtol=1e-4, atol=2e-5)
        assert torch.equal(result["losses"], results[0]["losses"])


@pytest.mark.dist
def test_in_bfloat16_ranks_train_as_one_process_to_its_rounding():
    losses, _ = one_process(torch.bfloat16)
    exact, _ = one_process(torch.float32)
    noise = (losses - exact).abs().max()  # what bfloat16 itself changes
    assert noise > 0
    for result in run_ranks(on_ranks, 2, {}, torch.bfloat16, {}):
        assert (result["losses"] - losses).abs().max() < 2 * noise


def go_on(sizes, directory, steps, dtype=torch.float32):
    """Take over the newest checkpoint, take steps, save; of one process where `sizes` is None."""
    model, settings = new_decoder(SHAPE, seed=1), config(**(sizes or {}))
    if sizes is None:
        optimiser, save = MasterAdamW(model, settings, compute_dtype=dtype), save_checkpoint
    else:
        mesh = open_mesh(settings.parallel, torch.device("cpu"))
        optimiser, save = ShardedAdamW(model, settings, mesh, compute_dtype=dtype), save_sharded
    first, newest = 0, load_newest(directory)
    if newest is not None:
        first, tensors, facts = newest
        assert facts["note"] == f"after {first}"
        optimiser.load_state(tensors)
    losses = run_steps(model, optimiser, first=first, steps=steps)
    done = first + steps
    save(directory, done, optimiser.state(), {"note": f"after {done}"}, keep=10)
    return {"losses": losses, "state": whole_state(optimiser)}


@pytest.mark.dist
def test_a_checkpoint_is_taken_over_by_any_number_of_ranks(tmp_path):
    expected, state = one_process(torch.float32, steps=12)
    parts = [run_ranks(go_on, count, {}, tmp_path, 2)[0] for count in (4, 2, 1)]
    parts.append(go_on(None, tmp_path, 2))
    parts += [run_ranks(go_on, count, sizes, tmp_path, 2)[0] for count, sizes in LAST]
    losses = torch.cat([part["losses"] for part in parts])
    assert_close(losses, expected, rtol=2e-5, atol=0)
    for name, value in state.items():
        assert_close(parts[-1]["state"][name], value, rtol=1e-3, atol=5e-5)


LAST = [(4, {"replicate": 2}), (2, {})]


def reload_on_ranks(directory):
    model, settings = new_decoder(SHAPE, seed=2), config()
    mesh = open_mesh(settings.parallel, torch.device("cpu"))
    optimiser = ShardedAdamW(model, settings, mesh, compute_dtype=torch.float32)
    step, tensors, _ = load_newest(directory)
    optimiser.load_state(tensors)
    return {"step": step, "state": whole_state(optimiser)}


@pytest.mark.dist
def test_what_is_read_is_what_was_written_bit_for_bit(tmp_path):
    written = run_ranks(go_on, 4, {}, tmp_path, 2)[0]["state"]
    for count in (1, 2, 4):
        for result in run_ranks(reload_on_ranks, count, tmp_path):
            assert all(torch.equal(result["state"][n], t) for n, t in written.items())
    alone = MasterAdamW(new_decoder(SHAPE, seed=2), config(), compute_dtype=torch.float32)
    alone.load_state(load_newest(tmp_path)[1])
    assert all(torch.equal(alone.state()[n], t) for n, t in written.items())


@pytest.mark.dist
def test_a_damaged_sharded_checkpoint_is_passed_over(tmp_path, capsys):
    run_ranks(go_on, 2, {}, tmp_path, 1)
    run_ranks(go_on, 2, {}, tmp_path, 1)
    assert load_newest(tmp_path)[0] == 2
    data = sorted((tmp_path / "step-00000002").glob("*.distcp"))[1]
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)
    assert all(r["step"] == 1 for r in run_ranks(reload_on_ranks, 2, tmp_path))
    assert load_newest(tmp_path)[0] == 1
    assert "step-00000002 is damaged (" in capsys.readouterr().err


def export_on_ranks(directory):
    mesh = open_mesh(config().parallel, torch.device("cpu"))
    for dtype in EXPORTED:
        model = new_decoder(SHAPE, seed=3)
        ShardedAdamW(model, config(), mesh, compute_dtype=dtype)
        write_shares(directory / str(dtype), model, dtype=dtype)
    return {}


EXPORTED = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # and how far logits may be apart


@pytest.mark.dist
@pytest.mark.parametrize("count", [2, 4])
def test_an_export_of_ranks_is_read_as_the_same_model(count, tmp_path):
    run_ranks(export_on_ranks, count, tmp_path)
    for dtype, atol in EXPORTED.items():
        folder = tmp_path / str(dtype)
        describe_export(folder, SHAPE, dtype=dtype, is_scorer=False, stop_ids=[1])
        model = new_decoder(SHAPE, seed=3).to(dtype)
        read = read_checkpoint(folder).load_model(dtype=dtype, device=torch.device("cpu"))
        for name, value in model.state_dict().items():
            assert torch.equal(read.state_dict()[name], value)
        theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        ids = batch(0)[0]
        with torch.no_grad():
            assert_close(theirs(ids).logits, model(ids), rtol=0, atol=atol)
        sizes = sorted(path.stat().st_size for path in folder.glob("*.safetensors"))
        assert len(sizes) == count
        assert sizes[-1] < 2 * sum(sizes) / count


def start_on_meta(sizes):
    with torch.device("meta"):
        model, names = Decoder(SHAPE), Decoder(SHAPE)
    settings = config(**sizes)
    mesh = open_mesh(settings.parallel, torch.device("cpu"))
    weights = partial(draw_weights, names, seed=1)
    optimiser = ShardedAdamW(model, settings, mesh, compute_dtype=torch.bfloat16, weights=weights)
    first = whole_state(optimiser)
    return {"first": first, "losses": run_steps(model, optimiser)}


@pytest.mark.dist
@pytest.mark.parametrize("sizes", [{}, {"tensor": 2}], ids=str)
def test_a_model_that_no_rank_ever_holds_starts_with_the_same_weights(sizes):
    expected = new_decoder(SHAPE, seed=1)
    with_model = run_ranks(on_ranks, 2, sizes, torch.bfloat16, {})[0]
    for result in run_ranks(start_on_meta, 2, sizes):
        for name, value in expected.named_parameters():
            assert torch.equal(result["first"][f"master.{name}"], value)
        assert torch.equal(result["losses"], with_model["losses"])
