"""Whole models out of GGUF files that the published library wrote."""

import numpy as np
import pytest
import torch
from gguf_files import write_gguf_file
from small_models import QWEN1_CONFIG, qwen1_tensors, random_ids, roughen, small_config

from openqwen.core.errors import UserError
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.parts import qwen2_parts

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "attn.c_attn": "attn_qkv",
    "attn.c_proj": "attn_output",
    "ln_1": "attn_norm",
    "ln_2": "ffn_norm",
    "mlp.w1": "ffn_up",
    "mlp.w2": "ffn_gate",
    "mlp.c_proj": "ffn_down",
    "model.embed_tokens": "token_embd",
    "transformer.wte": "token_embd",
    "model.norm": "output_norm",
    "transformer.ln_f": "output_norm",
    "lm_head": "output",
}


def gguf_name(name):
    name = name.replace("model.layers.", "blk.").replace("transformer.h.", "blk.")
    for theirs, short in NAMES.items():
        name = name.replace(theirs, short)
    return name


def permute(weights, heads):
    """llama.cpp's converter: rows of a head in neighbouring pairs instead of halves."""
    return (
        weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:])
        .swapaxes(1, 2)
        .reshape(weights.shape)
    )


def shape_of(config, kind):
    return {
        f"{kind}.block_count": config.num_hidden_layers,
        f"{kind}.context_length": config.train_length,
        f"{kind}.embedding_length": config.hidden_size,
        f"{kind}.feed_forward_length": config.intermediate_size,
        f"{kind}.attention.head_count": config.num_attention_heads,
        f"{kind}.attention.head_count_kv": config.num_key_value_heads,
        f"{kind}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        f"{kind}.rope.freq_base": config.rope_theta,
    }


def small_model(tmp_path, kind="qwen2", *, packed_as=None, values=(), tensors=(), **changes):
    """A random model of ours and its file; `values` and `tensors` replace (None takes away)."""
    config = small_config(hidden_size=96, head_dim=16, qkv_bias=kind == "qwen2", **changes)
    model = roughen(new_decoder(config, seed=1)).eval()
    parameters = dict(model.named_parameters())
    stored = {}
    for name, part in qwen2_parts(config).items():
        rows = parameters[part.parameter][part.start : part.start + part.rows]
        array = rows.detach().numpy()
        if kind == "llama" and ("q_proj" in name or "k_proj" in name):
            array = permute(array, len(array) // config.head_dim)
        packs = packed_as and array.ndim == 2 and array.shape[1] % 32 == 0
        stored[gguf_name(name)] = (packed_as, array) if packs else array
    stored |= dict(tensors)
    shape = shape_of(config, kind) | dict(values)
    write_gguf_file(
        tmp_path / "model.gguf",
        {key: value for key, value in shape.items() if value is not None},
        {name: tensor for name, tensor in stored.items() if tensor is not None},
        architecture=kind,
    )
    return model


@pytest.mark.parametrize("kind", ["qwen2", "llama"])
@pytest.mark.parametrize("tied", [False, True])
def test_a_file_gives_the_models_own_logits(tmp_path, kind, tied):
    model = small_model(tmp_path, kind, tie_word_embeddings=tied)
    checkpoint = read_checkpoint(tmp_path / "model.gguf")
    assert checkpoint.config == model.config
    assert checkpoint.context == model.config.train_length
    loaded = checkpoint.load_model()
    ids_BT = random_ids(2, 12)
    assert torch.equal(loaded(ids_BT), model(ids_BT))


def test_a_directory_with_one_file_is_that_model(tmp_path):
    model = small_model(tmp_path)
    loaded = read_checkpoint(tmp_path).load_model()
    assert torch.equal(loaded(random_ids(1, 5)), model(random_ids(1, 5)))
    (tmp_path / "other.gguf").write_bytes((tmp_path / "model.gguf").read_bytes())
    with pytest.raises(UserError, match=r"several GGUF files \(model.gguf, other.gguf\)"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("Q8_0", 0.01), ("Q4_0", 0.2), ("Q5_1", 0.1), ("BF16", 0.01)]
)
def test_packed_matrices_fill_every_parameter(tmp_path, kind, tolerance):
    model = small_model(tmp_path, "llama", packed_as=kind)
    loaded = read_checkpoint(tmp_path).load_model(dtype=torch.bfloat16)
    for name, parameter in model.named_parameters():
        found = dict(loaded.named_parameters())[name]
        assert found.dtype == torch.bfloat16
        worst = (found.float() - parameter).abs().max() / parameter.abs().max()
        assert worst < tolerance, name


def test_rows_read_in_pieces_are_those_read_at_once(tmp_path):
    small_model(tmp_path, "llama", packed_as="Q8_0")
    source = read_checkpoint(tmp_path).open_weights()
    for name in ("blk.0.attn_q.weight", "blk.1.attn_k.weight", "blk.0.attn_output.weight"):
        whole = source.read(name)
        for start, stop in ((0, 1), (3, 30), (15, 17), (16, 32), (len(whole) - 1, len(whole))):
            assert torch.equal(source.read(name, start, stop), whole[start:stop])


@pytest.mark.parametrize("stated", [128, 256], ids=["width", "twice the width"])
def test_a_qwen1_file_is_read_with_its_packed_projection(tmp_path, qwen1_directory, stated):
    config = QWEN1_CONFIG | {"use_dynamic_ntk": False, "use_logn_attn": False}
    tensors = qwen1_tensors(config)
    original = qwen1_directory(tensors=tensors, use_dynamic_ntk=False, use_logn_attn=False)
    values = {
        "qwen.block_count": 3,
        "qwen.context_length": 256,
        "qwen.embedding_length": 64,
        "qwen.feed_forward_length": stated,
        "qwen.attention.head_count": 4,
        "qwen.attention.layer_norm_rms_epsilon": 1e-6,
        "qwen.rope.freq_base": 10000.0,
        "qwen.rope.dimension_count": 16,
    }
    path = write_gguf_file(
        tmp_path / "qwen1.gguf",
        values,
        {gguf_name(name): tensor.numpy() for name, tensor in tensors.items()},
        architecture="qwen",
    )
    checkpoint = read_checkpoint(path)
    assert checkpoint.config.intermediate_size == 128
    assert checkpoint.config.rms_norm_eps == 1e-6
    ids = random_ids(20)
    logits = checkpoint.load_model()(ids[None])[0]
    torch.testing.assert_close(logits, original.logits(ids), atol=1e-4, rtol=0)


def test_plain_rotation_frequencies_are_left_out_and_others_refused(tmp_path):
    ones = np.ones(8, np.float32)
    model = small_model(tmp_path, "llama", tensors={"rope_freqs.weight": ones})
    ids_BT = random_ids(1, 5)
    assert torch.equal(read_checkpoint(tmp_path).load_model()(ids_BT), model(ids_BT))
    small_model(tmp_path, "llama", tensors={"rope_freqs.weight": ones * 8})
    with pytest.raises(UserError, match=r"rope_freqs\.weight scales the rotation"):
        read_checkpoint(tmp_path)


def test_stop_ids_are_the_files_and_the_control_tokens_that_end_a_reply(tmp_path):
    tokens = [f"t{i}" for i in range(90)] + ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokens += ["<|eot_id|>", "x", "y"]
    kinds = [1] * 90 + [3, 3, 3, 1, 1, 1]  # <|eot_id|> is ordinary text here
    vocabulary = {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds}
    small_model(tmp_path, values=vocabulary | {"tokenizer.ggml.eos_token_id": 5})
    assert read_checkpoint(tmp_path).stop_ids == (5, 90, 92)


REFUSED = {
    "architecture": ({"general.architecture": None}, {}, "architecture None is not read"),
    "rope scaling": (
        {"qwen2.rope.scaling.type": "yarn"},
        {},
        r"qwen2\.rope\.scaling\.type = 'yarn' is not implemented",
    ),
    "scaling factor": ({"qwen2.rope.scaling.factor": 4.0}, {}, "factor = 4.0 is not implemented"),
    "experts": ({"qwen2.expert_count": 8}, {}, "expert_count = 8 is not implemented"),
    "window": (
        {"qwen2.attention.sliding_window": 8},
        {},
        "sliding_window = 8 is not implemented",
    ),
    "unknown key": ({"qwen2.logit_scale": 2.0}, {}, "logit_scale = 2.0 is not implemented"),
    "a list": ({"qwen2.attention.head_count_kv": [2, 2]}, {}, "head_count_kv must be a whole"),
    "head size": ({"qwen2.attention.value_length": 8}, {}, "value_length = 8 differs from"),
    "no eps": (
        {"qwen2.attention.layer_norm_rms_epsilon": None},
        {},
        "layer_norm_rms_epsilon must be a number, got None",
    ),
    "many layers": ({"qwen2.block_count": 1 << 31}, {}, "block_count = 2,147,483,648 has no"),
    "width": ({"qwen2.feed_forward_length": 160}, {}, "feed_forward_length = 160, but its"),
    "parts": ({"split.count": 3}, {}, "is one of 3 parts"),
    "list of parts": ({"split.count": [1, 2]}, {}, "split.count must be one value, not a list"),
    "list of ends": (
        {"tokenizer.ggml.eos_token_id": [1, 2]},
        {},
        "eos_token_id must be one value, not a list",
    ),
    "missing": ({}, {"blk.2.ffn_up.weight": None}, r"tensor blk\.2\.ffn_up\.weight is missing"),
    "no embedding": ({}, {"token_embd.weight": None}, r"tensor token_embd\.weight is missing"),
    "unknown": ({}, {"blk.3.extra": np.ones(2)}, r"unknown tensor blk\.3\.extra"),
    "shape": ({}, {"output_norm.weight": np.ones(95)}, r"output_norm\.weight has shape \(95,\)"),
}


@pytest.mark.parametrize(("values", "tensors", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_implemented_or_does_not_fit_is_refused(tmp_path, values, tensors, message):
    if "general.architecture" in values:
        write_gguf_file(tmp_path / "model.gguf", {}, {}, architecture="gemma")
        message = "architecture 'gemma' is not read; qwen2, llama, qwen are"
    else:
        small_model(tmp_path, values=values, tensors=tensors)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path).load_model()
    assert "\n" not in str(caught.value)


def test_an_absurd_size_is_refused_before_memory_is_asked_for(tmp_path):
    small_model(
        tmp_path, values={"qwen2.embedding_length": 96 << 20, "qwen2.attention.head_count": 6}
    )
    with pytest.raises(UserError, match="the configuration asks for"):
        read_checkpoint(tmp_path).load_model()
