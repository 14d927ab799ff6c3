"""Small models, the same on one process and spread over ranks, and what a step makes of them."""

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.likelihood import IGNORED
from openqwen.parallel.unpack import unpack_projections

AXES = ("replicate", "shard", "context", "tensor")


def grouped_config(**changes):
    """A grouped-query shape whose heads, groups and widths divide by four, two layers."""
    shape = {
        "vocab_size": 96,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "intermediate_size": 96,
        "train_length": 32,
    }
    return ModelConfig(**(shape | changes))


def rough_decoder(dtype=torch.float32, seed=0, **changes):
    """Random norms and biases, larger weights: ones and zeros would hide mistakes."""
    model = new_decoder(grouped_config(**changes), seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    unpack_projections(model)
    return model.to(dtype)


def random_batch(rows=2, width=32, vocab_size=96, seed=0):
    ids = torch.randint(
        vocab_size, (rows, width + 1), generator=torch.Generator().manual_seed(seed)
    )
    targets = ids[:, 1:].clone()
    targets[0, :5] = IGNORED
    return ids[:, :-1].contiguous(), targets


def mesh_of(**sizes):
    return init_device_mesh("cpu", [sizes.get(a, 1) for a in AXES], mesh_dim_names=AXES)


def whole(tensor):
    """Return a tensor that may be spread over ranks as one plain tensor."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def whole_gradients(model):
    return {name: whole(p.grad).clone() for name, p in model.named_parameters()}


def largest_difference(found, expected):
    """Return the largest difference of two sets of tensors, relative to the set's largest value."""
    scale = max(float(t.abs().max()) for t in expected.values())
    assert found.keys() == expected.keys()
    return max(float((found[n].float() - expected[n].float()).abs().max()) for n in found) / scale
