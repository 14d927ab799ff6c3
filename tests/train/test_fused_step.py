"""The fused layers, loss and optimiser beside the plain ones in float32.

Both bf16 ways err against float32; the fused one rounds in fewer places, so it is held to the plain
one's own error (a quarter more for luck), and both to 3 %: about six roundings of 2^-8 in a row.
"""

import copy

import pytest
import torch
from torch import Tensor

from openqwen.core.workers import Workers
from openqwen.model.attention import Attention
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.layers import Dropout
from openqwen.model.likelihood import IGNORED
from openqwen.model.long_context import NO_EXTENSION
from openqwen.parallel.recompute import apply_recompute
from openqwen.train.config import PretrainConfig
from openqwen.train.engine import open_optimiser
from openqwen.train.fused import FusedLayer, fuse_training
from openqwen.train.kernels import ops
from openqwen.train.step import next_token_loss, next_token_step

pytestmark = pytest.mark.skipif(not ops.kernels_are_open(), reason="no kernels on this machine")

SHAPE = ModelConfig(
    vocab_size=320,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    intermediate_size=192,
    train_length=256,
)
CONFIG = PretrainConfig(num_steps=10, warmup_steps=2, learning_rate=1e-3)


def models(shape: ModelConfig = SHAPE):
    """A float32 model, the same rounded to bf16 and plain, and that fused."""
    wide = new_decoder(shape, seed=3)
    for parameter in wide.parameters():  # all three have the same weights; biases not 0
        noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
        parameter.data = (parameter.data + 0.02 * noise).bfloat16().float()
    plain = copy.deepcopy(wide).bfloat16()
    fused = copy.deepcopy(plain)
    assert fuse_training(fused)
    return wide, plain, fused


def batch(rows: int = 2, length: int = 150, seed: int = 0) -> tuple[Tensor, Tensor]:
    ids = torch.randint(320, (rows, length + 1), generator=torch.Generator().manual_seed(seed))
    targets = ids[:, 1:].clone()
    targets[0, :7] = IGNORED
    return ids[:, :-1].contiguous(), targets


def loss_and_gradients(model, inputs, targets, **options):
    loss = next_token_loss(model, inputs, targets, **options) / targets.numel()
    return loss, torch.autograd.grad(loss, list(model.parameters()))


def off_by(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 2])
def test_fused_layers_err_no_more_than_plain_ones(packed, kv_heads):
    wide, plain, fused = models(SHAPE.model_copy(update={"num_key_value_heads": kv_heads}))
    inputs, targets = batch()
    segments = None
    if packed:
        segments = (torch.arange(150)[None, :] >= torch.tensor([[40], [100]])).long()
        segments[1, 140:] = -1  # padding
        targets[1, 140:] = IGNORED
    expected, right = loss_and_gradients(wide, inputs, targets, segments_BT=segments)
    _, plainly = loss_and_gradients(plain, inputs, targets, segments_BT=segments)
    loss, found = loss_and_gradients(fused, inputs, targets, segments_BT=segments)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=2e-3)
    for (name, _), mine, theirs, exact in zip(
        fused.named_parameters(), found, plainly, right, strict=True
    ):
        assert off_by(mine, exact) < max(1.25 * off_by(theirs, exact), 0.005), name
        assert off_by(mine, exact) < 0.03, name


def test_parameters_keep_their_names_and_places():
    _, plain, fused = models()
    assert [n for n, _ in fused.named_parameters()] == [n for n, _ in plain.named_parameters()]
    assert all(isinstance(layer, FusedLayer) for layer in fused.layers)


def test_texts_packed_into_one_row_have_the_gradient_of_texts_apart():
    *_, fused = models()
    inputs, targets = batch(rows=1, length=128)
    targets[:] = inputs.roll(-1, 1)
    segments = (torch.arange(128)[None, :] >= 64).long()
    _, together = loss_and_gradients(fused, inputs, targets, segments_BT=segments)
    _, apart = loss_and_gradients(fused, inputs.view(2, 64), targets.view(2, 64))
    for mine, theirs in zip(together, apart, strict=True):
        assert off_by(mine, theirs) < 0.005  # attention is the same to the bit, products sum anew


def test_dropout_goes_the_plain_way():
    _, plain, fused = models()
    inputs, targets = batch()

    def dropout():
        return Dropout(0.1, torch.Generator().manual_seed(5))

    loss, _ = loss_and_gradients(fused, inputs, targets, dropout=dropout())
    expected, _ = loss_and_gradients(plain, inputs, targets, dropout=dropout())
    assert torch.equal(loss, expected)


def test_frozen_weights_get_no_gradient():
    *_, fused = models()
    fused.requires_grad_(False)
    fused.layers[0].attention.out.weight.requires_grad_(True)
    loss = next_token_loss(fused, *batch())
    loss.backward()
    reached = [name for name, p in fused.named_parameters() if p.grad is not None]
    assert reached == ["layers.0.attention.out.weight"]


def test_recomputed_fused_layers_have_the_same_bits():
    *_, fused = models()
    again = copy.deepcopy(fused)
    apply_recompute(again, "layer")
    _, expected = loss_and_gradients(fused, *batch())
    _, found = loss_and_gradients(again, *batch())
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_what_the_kernels_do_not_know_stays_plain():
    small = SHAPE.model_copy(update={"head_dim": 16, "num_attention_heads": 8})
    assert not fuse_training(new_decoder(small, seed=0).bfloat16())
    assert not fuse_training(new_decoder(SHAPE, seed=0))  # float32


def train(micro_sequences: int, workers_count: int = 1, steps: int = 3):
    model = new_decoder(SHAPE, seed=1)
    optimiser = open_optimiser(model, CONFIG, compute_dtype=torch.bfloat16)
    assert isinstance(model.layers[0], FusedLayer)
    losses = []
    with Workers(workers_count) as workers:
        for step in range(steps):
            inputs, targets = batch(rows=4, length=96, seed=step)
            loss, norm = next_token_step(
                model,
                optimiser,
                inputs,
                targets,
                micro_sequences=micro_sequences,
                learning_rate=1e-3,
                workers=workers,
            )
            losses.append((float(loss), float(norm)))
    return losses, optimiser.state()


def test_neither_workers_nor_repetition_change_a_bit():
    losses, state = train(1)
    for other_losses, other in (train(1, workers_count=2), train(1)):
        assert other_losses == losses
        assert all(torch.equal(other[name], value) for name, value in state.items())


def test_four_micro_batches_of_one_are_one_of_four():
    whole, _ = train(4)
    parts, _ = train(1)
    assert torch.tensor(parts)[:, 0] == pytest.approx(torch.tensor(whole)[:, 0], rel=1e-4)
    assert torch.tensor(parts)[:, 1] == pytest.approx(torch.tensor(whole)[:, 1], rel=1e-2)


def test_a_refused_step_leaves_nothing_behind():
    model = new_decoder(SHAPE, seed=1)
    optimiser = open_optimiser(model, CONFIG, compute_dtype=torch.bfloat16)
    gradients = [torch.ones_like(p) for p in model.parameters()]
    before = [p.clone() for p in model.parameters()]
    optimiser.accumulate(gradients)
    first = optimiser.step(1e-3, accept=lambda norm: False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    optimiser.accumulate(gradients)
    assert torch.equal(optimiser.step(1e-3), first)  # not twice the gradient
    assert not torch.equal(before[0], model.embed_tokens.weight)


def test_a_norm_that_is_no_number_is_told():
    model = new_decoder(SHAPE, seed=1)
    optimiser = open_optimiser(model, CONFIG, compute_dtype=torch.bfloat16)
    gradients = [torch.ones_like(p) for p in model.parameters()]
    gradients[3].flatten()[0] = torch.nan
    optimiser.accumulate(gradients)
    assert torch.isnan(optimiser.step(1e-3, accept=lambda norm: False))


def test_one_layer_alone_is_the_plain_layer():
    """The same input and the same gradient from above, layer by layer: no loss hides a mistake."""
    wide, plain, fused = models()
    x = torch.randn(1, 70, 128, generator=torch.Generator().manual_seed(0)).bfloat16()
    placement = wide._placement(NO_EXTENSION, [0], [1.0], 70)
    grads = []
    for model in (wide, plain, fused):
        layer = model.layers[1]
        assert isinstance(layer.attention, Attention)
        given = x.to(model.embed_tokens.weight.dtype).requires_grad_()
        y = layer(given, placement)
        grads.append((y, *torch.autograd.grad(y, (given, *layer.parameters()), y.detach() + 1)))
    for number, (exact, theirs, mine) in enumerate(zip(*grads, strict=True)):
        assert off_by(mine, exact) < max(1.25 * off_by(theirs, exact), 0.004), number
