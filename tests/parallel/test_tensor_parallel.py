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
from torch.testing import assert_close

from openqwen.model.likelihood import sequence_losses, token_log_probs
from openqwen.parallel.tensor import apply_tensor_parallel
from openqwen.train.step import next_token_loss


def losses_and_gradients(model):
    inputs_BT, targets_BT = random_batch()
    nll = next_token_loss(model, inputs_BT, targets_BT)
    (nll / 50).backward()
    states_ND = model.hidden(inputs_BT).detach().flatten(0, 1)
    log_probs_N, entropy_N = token_log_probs(
        states_ND, model.lm_head.weight, targets_BT.flatten().clamp_min(0)
    )
    return {
        "nll": nll.detach(),
        "logits": model(inputs_BT).detach(),
        "losses": sequence_losses(model, inputs_BT, targets_BT),
        "log_probs": log_probs_N,
        "entropy": entropy_N,
    }, whole_gradients(model)


def on_ranks(count, dtype, tied):
    model = rough_decoder(dtype, tie_word_embeddings=tied)
    expected, expected_gradients = losses_and_gradients(model)
    spread = rough_decoder(dtype, tie_word_embeddings=tied)
    apply_tensor_parallel(spread, mesh_of(tensor=count))
    held = sum(p.to_local().numel() for p in spread.parameters())
    found, gradients = losses_and_gradients(spread)
    return {
        "held": held / sum(p.numel() for p in model.parameters()),
        "gradients": largest_difference(gradients, expected_gradients),
        "found": found,
        "expected": expected,
    }


@pytest.mark.dist
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("count", [2, 4])
def test_float32_losses_and_gradients_are_those_of_one_process(count, tied):
    results = run_ranks(on_ranks, count, count, torch.float32, tied)
    for result in results:
        assert result["gradients"] < 1e-5
        assert result["held"] == pytest.approx(1 / count, abs=0.02)
        assert_close(result["found"], result["expected"], rtol=1e-5, atol=2e-5)
        for name, value in results[0]["found"].items():  # every rank has the same bits
            assert torch.equal(result["found"][name], value)
