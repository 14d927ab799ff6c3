import pytest
import torch
from ranks import run_ranks
from spread_models import (
    grouped_config,
    largest_difference,
    mesh_of,
    random_batch,
    rough_decoder,
    whole_gradients,
)
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.model import likelihood
from openqwen.model.decoder import new_decoder
from openqwen.model.likelihood import sequence_losses, token_log_probs
from openqwen.model.scorer import scorer_from
from openqwen.parallel.tensor import apply_tensor_parallel
from openqwen.parallel.unpack import unpack_projections
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


def scorer_and_long_texts(count):
    model = rough_decoder()
    scorer = scorer_from(new_decoder(grouped_config(), seed=3), seed=4)
    inputs_BT, targets_BT = random_batch()
    expected = [scorer.scores(inputs_BT, lengths_B=[30, 32]), scorer.values(inputs_BT)]
    likelihood.PASS_TOKENS, likelihood.CHUNK_TOKENS = 16, 8  # so that it goes through a cache
    expected.append(sequence_losses(model, inputs_BT, targets_BT))
    for each in (model, scorer):
        unpack_projections(each)
        apply_tensor_parallel(each, mesh_of(tensor=count))
    found = [scorer.scores(inputs_BT, lengths_B=[30, 32]), scorer.values(inputs_BT)]
    found[0].sum().backward()
    gradient = scorer.score.weight.grad.to_local()
    found.append(sequence_losses(model, inputs_BT, targets_BT))
    return [[t.detach() for t in found], [t.detach() for t in expected], gradient]


@pytest.mark.dist
def test_scores_and_texts_that_go_through_a_cache_are_those_of_one_process():
    results = run_ranks(scorer_and_long_texts, 2, 2)
    for found, expected, gradient in results:
        assert_close(found, expected, rtol=1e-5, atol=2e-5)
        assert torch.equal(gradient, results[0][2])
        assert float(gradient.abs().max()) > 0


def refusals(count):
    messages = []
    for changes in (
        {"num_attention_heads": 6, "num_key_value_heads": 6, "hidden_size": 48},
        {"num_key_value_heads": 2},
        {"intermediate_size": 90},
        {"vocab_size": 90},
    ):
        with pytest.raises(UserError) as refusal:
            apply_tensor_parallel(rough_decoder(**changes), mesh_of(tensor=count))
        messages.append(str(refusal.value))
    with pytest.raises(ValueError, match="unpack_projections"):
        apply_tensor_parallel(new_decoder(grouped_config(), seed=0), mesh_of(tensor=count))
    return messages


@pytest.mark.dist
def test_a_shape_that_does_not_divide_is_refused_with_its_value():
    for heads, kv_heads, width, rows in run_ranks(refusals, 4, 4):
        assert heads.startswith("parallel.tensor = 4 does not divide num_attention_heads = 6")
        assert "num_key_value_heads = 2" in kv_heads
        assert "intermediate_size = 90" in width
        assert "vocab_size = 90" in rows
        assert "set parallel.tensor to a divisor" in rows


def test_unpacked_projections_give_the_same_bits():
    packed, unpacked = (new_decoder(grouped_config(), seed=5) for _ in range(2))
    unpack_projections(unpacked)
    unpack_projections(unpacked)  # no second time
    ids_BT = random_batch()[0]
    assert torch.equal(packed(ids_BT), unpacked(ids_BT))
    names = set(dict(unpacked.layers[0].named_parameters()))
    assert {"attention.qkv.q.weight", "attention.qkv.v.bias", "mlp.gate_up.up.weight"} <= names
