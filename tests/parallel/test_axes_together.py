import pytest
import torch
from ranks import run_ranks
from spread_models import grouped_config, random_batch
from torch.distributed.tensor import DTensor
from torch.testing import assert_close

from openqwen.core.seeds import generator_for
from openqwen.core.workers import Workers
from openqwen.model.decoder import new_decoder
from openqwen.model.layers import Dropout
from openqwen.model.likelihood import IGNORED, sequence_losses
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.mesh import open_mesh
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.sharded import ShardedAdamW
from openqwen.train.sharded_state import packed_state
from openqwen.train.step import next_token_loss, optimise

# a large epsilon: with 1e-8 Adam turns rounding of near-zero gradients into whole steps
SETTINGS = {"num_steps": 10, "learning_rate": 1e-2, "epsilon": 1e-3}

MESHES = [
    {"tensor": 2},
    {"tensor": 4},
    {"context": 2},
    {"context": 2, "context_exchange": "ring"},
    {"context": 4},
    {"context": 2, "tensor": 2},
    {"context": 2, "tensor": 2, "context_exchange": "ring", "recompute": "layer"},
    {"shard": 2, "tensor": 2, "recompute": "layer"},
    {"shard": 2, "context": 2},
    {"replicate": 2, "shard": 2},
]


def train(model, optimiser, steps, drops):
    """Take steps of four micro-batches; return losses and norms, then every token's loss."""
    found = []
    with Workers(1) as workers:
        for step in range(steps):
            inputs_BT, targets_BT = random_batch(rows=4, seed=step)
            num_valid = (targets_BT != IGNORED).sum()

            def loss_of(row, step=step, inputs=inputs_BT, targets=targets_BT, count=num_valid):
                dropout = Dropout(0.2, generator_for(step, row)) if drops else None
                rows = slice(row, row + 1)
                nll = next_token_loss(model, inputs[rows], targets[rows], dropout=dropout)
                return nll / count, nll.detach()

            losses, norm = optimise(
                optimiser, loss_of, range(4), learning_rate=1e-2, workers=workers
            )
            found.append(torch.stack([*losses, norm]))
        inputs_BT, targets_BT = random_batch(rows=2, seed=99)
        mapped = optimiser.spread(workers).map(
            lambda *row: sequence_losses(model, *row), inputs_BT.split(1), targets_BT.split(1)
        )
        return torch.stack(found), torch.stack(list(mapped))


def one_process(dtype, steps, drops, tied):
    model = new_decoder(grouped_config(tie_word_embeddings=tied), seed=1)
    optimiser = MasterAdamW(model, PretrainConfig(**SETTINGS), compute_dtype=dtype)
    losses, scored = train(model, optimiser, steps, drops)
    return losses, scored, optimiser.state()


def on_ranks(sizes, dtype, steps, drops, tied):
    model = new_decoder(grouped_config(tie_word_embeddings=tied), seed=1)
    config = PretrainConfig(**SETTINGS, parallel=ParallelConfig(**sizes))
    mesh = open_mesh(config.parallel, torch.device("cpu"))
    optimiser = ShardedAdamW(model, config, mesh, compute_dtype=dtype)
    losses, scored = train(model, optimiser, steps, drops)
    state = {
        name: t.full_tensor() if isinstance(t, DTensor) else t
        for name, t in optimiser.state().items()
    }
    state = dict(packed_state(state, optimiser.layout))
    held = sum(m.numel() for m in optimiser.masters)
    return {"losses": losses, "scored": scored, "state": state, "held": held}


def count_of(sizes):
    return torch.tensor([n for n in sizes.values() if isinstance(n, int)]).prod().item()


@pytest.mark.dist
@pytest.mark.parametrize("sizes", MESHES, ids=str)
def test_float32_training_is_that_of_one_process_to_the_order_of_sums(sizes):
    losses, scored, state = one_process(torch.float32, 2, True, False)
    results = run_ranks(on_ranks, count_of(sizes), sizes, torch.float32, 2, True, False)
    for result in results:
        assert_close(result["losses"], losses, rtol=1e-5, atol=0)
        assert_close(result["scored"], scored, rtol=2e-5, atol=1e-5)
        assert result["state"].keys() == state.keys()
        for name, value in state.items():
            assert_close(result["state"][name], value, rtol=1e-4, atol=2e-5)
        assert torch.equal(result["losses"], results[0]["losses"])


@pytest.mark.dist
@pytest.mark.parametrize("sizes", [{"context": 2, "tensor": 2}, {"shard": 2, "tensor": 2}], ids=str)
def test_a_tied_matrix_is_trained_as_one(sizes):
    losses, _, state = one_process(torch.float32, 2, False, True)
    for result in run_ranks(on_ranks, 4, sizes, torch.float32, 2, False, True):
        assert_close(result["losses"], losses, rtol=1e-5, atol=0)
        for name, value in state.items():
            assert_close(result["state"][name], value, rtol=1e-4, atol=2e-5)


@pytest.mark.dist
@pytest.mark.parametrize("sizes", [{"tensor": 2, "context": 2}, {"tensor": 2, "shard": 2}], ids=str)
def test_bfloat16_differs_by_its_noise_only(sizes):
    losses, _, _ = one_process(torch.bfloat16, 2, False, False)
    for result in run_ranks(on_ranks, 4, sizes, torch.bfloat16, 2, False, False):
        assert_close(result["losses"], losses, rtol=1e-2, atol=0)
