import pytest
import torch
from ranks import run_ranks
from spread_models import (
    largest_difference,
    mesh_of,
    random_batch,
    rough_decoder,
    whole_gradients,
)
from test_axes_together import on_ranks as train_on_ranks
from test_axes_together import one_process
from torch._dynamo.utils import counters
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.core.seeds import generator_for
from openqwen.core.workers import Workers
from openqwen.model.kv_cache import KVCache
from openqwen.model.layers import Dropout
from openqwen.parallel.columns import own_columns
from openqwen.parallel.compiling import Compiled, apply_compile
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.context import apply_context_parallel
from openqwen.parallel.recompute import Recomputed, apply_recompute
from openqwen.parallel.tensor import apply_tensor_parallel
from openqwen.train.step import next_token_loss

SEGMENTS = torch.tensor([[0] * 10 + [1] * 22, [0] * 20 + [1] * 8 + [-1] * 4])


def gradients(model, workers=1, drops=False, segments_BT=None):
    """Return four micro-batches' losses and gradients."""

    def one(number):
        inputs_BT, targets_BT = random_batch(seed=number)
        dropout = Dropout(0.3, generator_for(number)) if drops else None
        nll = next_token_loss(
            model, inputs_BT, targets_BT, segments_BT=segments_BT, dropout=dropout
        )
        loss = nll / 50  # of the gradients' size
        return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]

    with Workers(workers) as pool:
        return dict(enumerate(t for found in pool.map(one, range(4)) for t in found))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"drops": True}, {"segments_BT": SEGMENTS}], ids=str)
def test_compiled_is_eager_to_rounding_on_any_number_of_threads(options, capsys):
    eager, compiled = rough_decoder(), rough_decoder()
    apply_compile(compiled)
    expected = gradients(eager, **options)
    found = gradients(compiled, workers=2, **options)
    assert largest_difference(found, expected) < 1e-5
    again = gradients(compiled, workers=1, **options)
    assert all(torch.equal(found[n], again[n]) for n in found)
    assert capsys.readouterr().out.count("compile       a layer for inputs of 2 × 32 × 64: ") <= 1


@pytest.mark.slow
def test_all_layers_share_one_code_and_recompute_goes_around_it():
    shape = {"num_hidden_layers": 5, "intermediate_size": 80}  # of no other test: codes are kept
    plain, recomputed = rough_decoder(**shape), rough_decoder(**shape)
    before = counters["stats"]["unique_graphs"]
    apply_compile(plain)
    expected = gradients(plain)
    assert counters["stats"]["unique_graphs"] == before + 1
    apply_recompute(recomputed, "layer")
    apply_compile(recomputed)
    apply_compile(recomputed)  # no second time
    assert [isinstance(recomputed.layers[0], kind) for kind in (Recomputed, Compiled)] == [True] * 2
    found = gradients(recomputed, workers=2)
    assert all(torch.equal(found[n], expected[n]) for n in expected)
    assert counters["stats"]["unique_graphs"] == before + 2  # another class of layer
    assert list(recomputed.state_dict()) == list(plain.state_dict())


@pytest.mark.slow
def test_a_cache_goes_the_eager_way_to_the_bit():
    eager, compiled = rough_decoder(), rough_decoder()
    apply_compile(compiled)
    inputs_BT, _ = random_batch()
    with torch.no_grad():
        logits = [
            model(inputs_BT, cache=KVCache(model.config, prompt_lengths=[32, 32]))
            for model in (eager, compiled)
        ]
    assert torch.equal(*logits)


def test_a_machine_without_a_compiler_is_told_what_to_change(monkeypatch):
    def none():
        raise RuntimeError("no working C++ compiler")

    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", none)
    with pytest.raises(UserError, match=r"parallel\.compile = true.*install g\+\+"):
        apply_compile(rough_decoder())


def on_context_ranks():
    model, spread = rough_decoder(), rough_decoder()
    apply_context_parallel(spread, mesh_of(context=2), ParallelConfig(context=2))
    apply_recompute(spread, "layer")
    apply_compile(spread)
    inputs_BT, targets_BT = random_batch()
    losses = []
    for each in (spread, model):
        nll = next_token_loss(each, inputs_BT, targets_BT)
        (nll / 50).backward()
        losses.append(float(nll))
    assert own_columns(spread, targets_BT).shape[1] == 16
    for parameter in spread.parameters():
        torch.distributed.all_reduce(parameter.grad)
    differs = largest_difference(whole_gradients(spread), whole_gradients(model))
    return {"loss": abs(losses[0] / losses[1] - 1), "gradients": differs}


@pytest.mark.dist
@pytest.mark.slow
def test_layers_that_share_a_sequence_compile():
    for result in run_ranks(on_context_ranks, 2):
        assert max(result.values()) < 1e-5


SHARDED = [
    {"shard": 2, "compile": True},
    {"shard": 2, "compile": True, "recompute": "layer"},
    {"shard": 1, "context": 2, "compile": True, "context_exchange": "ring"},
]


@pytest.mark.dist
@pytest.mark.slow
@pytest.mark.parametrize("sizes", SHARDED, ids=str)
def test_sharded_compiled_training_is_that_of_one_process(sizes):
    losses, scored, state = one_process(torch.float32, 2, True, False)
    for result in run_ranks(train_on_ranks, 2, sizes, torch.float32, 2, True, False):
        assert_close(result["losses"], losses, rtol=1e-5, atol=0)
        assert_close(result["scored"], scored, rtol=2e-5, atol=1e-5)
        for name, value in state.items():
            assert_close(result["state"][name], value, rtol=1e-4, atol=2e-5)


def refusal_of_cut_matrices():
    spread = rough_decoder()
    apply_tensor_parallel(spread, mesh_of(tensor=2))
    with pytest.raises(UserError) as refusal:
        apply_compile(spread)
    assert not any(isinstance(layer, Compiled) for layer in spread.layers)
    return str(refusal.value)


@pytest.mark.dist
def test_matrices_cut_over_ranks_are_refused_with_the_settings_to_change():
    for message in run_ranks(refusal_of_cut_matrices, 2):
        assert "parallel.compile = true with parallel.tensor > 1" in message
        assert "set parallel.compile to false or parallel.tensor to 1" in message
