"""Small random models and inputs for the tests of this folder."""

import json

import torch
from qwen1_by_the_book import logits_of
from safetensors.torch import save_file

from openqwen.model.config import ModelConfig

QWEN1_CONFIG = {
    "model_type": "qwen",
    "architectures": ["QWenLMHeadModel"],
    "hidden_size": 64,
    "intermediate_size": 256,  # twice the width of the FFN
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "kv_channels": 16,
    "max_position_embeddings": 256,
    "seq_length": 16,
    "vocab_size": 96,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "layer_norm_epsilon": 1e-6,
    "no_bias": True,
    "scale_attn_weights": True,
    "tie_word_embeddings": False,
    "use_dynamic_ntk": True,
    "use_logn_attn": True,
}


def small_config(**changes):
    """A grouped-query Qwen2-like shape, small enough to run in milliseconds."""
    shape = {
        "vocab_size": 96,
        "hidden_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "intermediate_size": 80,
        "train_length": 16,
    }
    return ModelConfig(**(shape | changes))


def random_ids(*shape, vocab_size=96, seed=0):
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def roughen(model, seed=0, size=0.3):
    """Random norms and biases, larger weights: ones and zeros would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * size
            parameter.add_(noise if parameter.ndim == 1 else noise / 2)
    return model


class Qwen1Directory:
    """A random model in the published Qwen-1 layout, and what the original would answer."""

    def __init__(self, path, config, tensors):
        self.path, self.config, self.tensors = path, config, tensors
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(config))
        save_file(tensors, path / "model.safetensors")

    def logits(self, ids, **methods):
        return logits_of(self.tensors, self.config, ids, **methods).float()


def qwen1_tensors(config, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape, near=0.0, size=0.15):
        return near + size * torch.randn(shape, generator=generator)

    hidden, rows = config["hidden_size"], config["vocab_size"]
    ffn = config["intermediate_size"] // 2
    tensors = {"transformer.wte.weight": draw(rows, hidden, size=1.0)}
    for i in range(config["num_hidden_layers"]):
        name = f"transformer.h.{i}"
        tensors |= {
            f"{name}.ln_1.weight": draw(hidden, near=1.0),
            f"{name}.attn.c_attn.weight": draw(3 * hidden, hidden),
            f"{name}.attn.c_attn.bias": draw(3 * hidden, size=0.5),
            f"{name}.attn.c_proj.weight": draw(hidden, hidden),
            f"{name}.ln_2.weight": draw(hidden, near=1.0),
            f"{name}.mlp.w1.weight": draw(ffn, hidden),
            f"{name}.mlp.w2.weight": draw(ffn, hidden),
            f"{name}.mlp.c_proj.weight": draw(hidden, ffn),
        }
    tensors["transformer.ln_f.weight"] = draw(hidden, near=1.0)
    tensors["lm_head.weight"] = draw(rows, hidden)
    return tensors
