"""Which rows of our parameters each published tensor fills.

Our projections are packed (q | k | v, gate | up); Qwen2's layout keeps them apart, Qwen-1's packs
q, k and v. Both are maps from a published name to rows of one of our parameters. GGUF files hold
the same tensors under shorter names.
"""

import re
from dataclasses import dataclass

from openqwen.model.config import ModelConfig

# a module's published name, layer prefix left out -> its name in GGUF files (ggml's docs/gguf.md)
GGUF_MODULES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "transformer.wte": "token_embd",
    "transformer.ln_f": "output_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "mlp.w2": "ffn_gate",
    "mlp.w1": "ffn_up",
    "mlp.c_proj": "ffn_down",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
}
LAYER_PREFIX = re.compile(r"(?:model\.layers|transformer\.h)\.(\d+)\.")


@dataclass(frozen=True)
class Part:
    """Rows `start` … `start + rows - 1` of a parameter; `columns` is None for vectors."""

    parameter: str
    start: int
    rows: int
    columns: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the published tensor."""
        return (self.rows,) if self.columns is None else (self.rows, self.columns)


def qwen2_parts(config: ModelConfig) -> dict[str, Part]:
    """Return published Qwen2 (or, without biases, Llama) name -> part of our decoder."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    q_size = config.num_attention_heads * config.head_dim
    kv_size = config.num_key_value_heads * config.head_dim
    parts = {"model.embed_tokens.weight": Part("embed_tokens.weight", 0, config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        theirs, ours = f"model.layers.{i}", f"layers.{i}"
        start = 0
        for letter, rows in (("q", q_size), ("k", kv_size), ("v", kv_size)):
            name = f"{theirs}.self_attn.{letter}_proj"
            parts[f"{name}.weight"] = Part(f"{ours}.attention.qkv.weight", start, rows, hidden)
            if config.qkv_bias:
                parts[f"{name}.bias"] = Part(f"{ours}.attention.qkv.bias", start, rows, None)
            start += rows
        parts[f"{theirs}.self_attn.o_proj.weight"] = Part(
            f"{ours}.attention.out.weight", 0, hidden, q_size
        )
        gate_up = f"{ours}.mlp.gate_up.weight"
        parts[f"{theirs}.mlp.gate_proj.weight"] = Part(gate_up, 0, ffn, hidden)
        parts[f"{theirs}.mlp.up_proj.weight"] = Part(gate_up, ffn, ffn, hidden)
        parts[f"{theirs}.mlp.down_proj.weight"] = Part(f"{ours}.mlp.down.weight", 0, hidden, ffn)
        parts[f"{theirs}.input_layernorm.weight"] = Part(
            f"{ours}.attention_norm.weight", 0, hidden, None
        )
        parts[f"{theirs}.post_attention_layernorm.weight"] = Part(
            f"{ours}.mlp_norm.weight", 0, hidden, None
        )
    parts["model.norm.weight"] = Part("norm.weight", 0, hidden, None)
    if not config.tie_word_embeddings:
        parts["lm_head.weight"] = Part("lm_head.weight", 0, config.vocab_size, hidden)
    return parts


def scorer_parts(config: ModelConfig) -> dict[str, Part]:
    """Return published sequence-classification name -> part of our scorer."""
    parts = qwen2_parts(config)
    parts.pop("lm_head.weight", None)
    return parts | {"score.weight": Part("score.weight", 0, 1, config.hidden_size)}


def qwen1_parts(config: ModelConfig) -> dict[str, Part]:
    """Return published Qwen-1 name -> part of our decoder; w2 is the gate, w1 the up matrix."""
    hidden, ffn = config.hidden_size, config.intermediate_size
    qkv_size = 3 * hidden
    parts = {"transformer.wte.weight": Part("embed_tokens.weight", 0, config.vocab_size, hidden)}
    for i in range(config.num_hidden_layers):
        theirs, ours = f"transformer.h.{i}", f"layers.{i}"
        parts |= {
            f"{theirs}.ln_1.weight": Part(f"{ours}.attention_norm.weight", 0, hidden, None),
            f"{theirs}.attn.c_attn.weight": Part(
                f"{ours}.attention.qkv.weight", 0, qkv_size, hidden
            ),
            f"{theirs}.attn.c_attn.bias": Part(f"{ours}.attention.qkv.bias", 0, qkv_size, None),
            f"{theirs}.attn.c_proj.weight": Part(f"{ours}.attention.out.weight", 0, hidden, hidden),
            f"{theirs}.ln_2.weight": Part(f"{ours}.mlp_norm.weight", 0, hidden, None),
            f"{theirs}.mlp.w2.weight": Part(f"{ours}.mlp.gate_up.weight", 0, ffn, hidden),
            f"{theirs}.mlp.w1.weight": Part(f"{ours}.mlp.gate_up.weight", ffn, ffn, hidden),
            f"{theirs}.mlp.c_proj.weight": Part(f"{ours}.mlp.down.weight", 0, hidden, ffn),
        }
    parts["transformer.ln_f.weight"] = Part("norm.weight", 0, hidden, None)
    if not config.tie_word_embeddings:
        parts["lm_head.weight"] = Part("lm_head.weight", 0, config.vocab_size, hidden)
    return parts


def gguf_parts(config: ModelConfig, *, packed: bool) -> dict[str, Part]:
    """Return GGUF name -> part of our decoder; `packed` as Qwen-1 has q, k and v, else Qwen2."""
    parts = qwen1_parts(config) if packed else qwen2_parts(config)
    return {gguf_name(name): part for name, part in parts.items()}


def gguf_name(published: str) -> str:
    """Return the GGUF name of a tensor of the Qwen2, Llama or Qwen-1 layout."""
    module, _, kind = published.rpartition(".")
    layer = LAYER_PREFIX.match(module)
    if layer is None:
        return f"{GGUF_MODULES[module]}.{kind}"
    return f"blk.{layer[1]}.{GGUF_MODULES[module[layer.end() :]]}.{kind}"
