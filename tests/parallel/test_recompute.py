import pytest
import torch
from spread_models import random_batch, rough_decoder

from openqwen.core.seeds import generator_for
from openqwen.core.workers import Workers
from openqwen.model.layers import Dropout
from openqwen.parallel.recompute import apply_recompute
from openqwen.train.step import next_token_loss

SEGMENTS = torch.tensor([[0] * 10 + [1] * 22, [0] * 20 + [1] * 8 + [-1] * 4])


def gradients(model, workers=1, drops=True, segments_BT=None):
    """Return four micro-batches' losses and gradients, and what their generators draw next."""

    def one(number):
        inputs_BT, targets_BT = random_batch(seed=number)
        generator = generator_for(number)
        dropout = Dropout(0.3, generator) if drops else None
        nll = next_token_loss(
            model, inputs_BT, targets_BT, segments_BT=segments_BT, dropout=dropout
        )
        grads = torch.autograd.grad(nll, list(model.parameters()))
        return [nll.detach(), *grads, torch.rand(3, generator=generator)]

    with Workers(workers) as pool:
        return [tensor for found in pool.map(one, range(4)) for tensor in found]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("options", [{}, {"drops": False}, {"segments_BT": SEGMENTS}], ids=str)
@pytest.mark.parametrize("workers", [1, 2])
def test_recomputed_is_plain_to_the_bit(workers, options, dtype):
    plain, recomputed = rough_decoder(dtype), rough_decoder(dtype)
    apply_recompute(recomputed, "layer")
    expected = gradients(plain, **options)
    found = gradients(recomputed, workers, **options)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_each_layer_runs_twice_for_gradients_and_once_without():
    model = rough_decoder()
    apply_recompute(model, "layer")
    apply_recompute(model, "layer")  # no second time
    runs = []
    for layer in model.layers:
        layer.mlp_norm.register_forward_hook(lambda *_: runs.append(1))
    inputs_BT, targets_BT = random_batch()
    nll = next_token_loss(model, inputs_BT, targets_BT)
    assert len(runs) == 2
    nll.backward()
    assert len(runs) == 4
    with torch.no_grad():
        model(inputs_BT)
    assert len(runs) == 6


def test_less_is_kept_for_the_backward_pass():
    def kept(how):
        model = rough_decoder(num_hidden_layers=4)
        apply_recompute(model, how)
        sizes = {}

        def pack(tensor):
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        own = {p.data_ptr() for p in model.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            states = model.hidden(random_batch(width=64)[0])
        assert states.requires_grad
        return sum(size for place, size in sizes.items() if place not in own)

    assert kept("layer") < kept("none") / 4


def test_names_and_weights_stay_and_none_changes_nothing():
    model = rough_decoder()
    names, kind = list(model.state_dict()), type(model.layers[0])
    apply_recompute(model, "none")
    assert type(model.layers[0]) is kind
    apply_recompute(model, "layer")
    assert list(model.state_dict()) == names
    assert isinstance(model.layers[0], kind)
    with pytest.raises(ValueError, match="none or layer, got 'all'"):
        apply_recompute(model, "all")
