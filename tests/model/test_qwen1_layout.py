import json
from pathlib import Path

import pytest
import torch
from qwen1_by_the_book import alpha_of
from safetensors.torch import load_file
from small_models import QWEN1_CONFIG, random_ids

from openqwen.core.errors import UserError
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.kv_cache import KVCache
from openqwen.model.long_context import LongContext

DATA = Path(__file__).parent / "data"
EARLY_KEYS = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
    "intermediate_size": "ffn_hidden_size",
    "max_position_embeddings": "n_positions",
    "rotary_emb_base": "rope_theta",
    "vocab_size": "padded_vocab_size",
}


def load(directory):
    checkpoint = read_checkpoint(directory.path)
    return checkpoint, checkpoint.load_model()


@pytest.mark.parametrize("length", [1, 7, 16, 17, 32, 33, 70])
@pytest.mark.parametrize("flags", [(True, True), (True, False), (False, True), (False, False)])
@torch.no_grad()
def test_one_prefill_gives_the_originals_logits(qwen1_directory, length, flags):
    ntk, logn = flags
    directory = qwen1_directory(use_dynamic_ntk=ntk, use_logn_attn=logn)
    checkpoint, model = load(directory)
    assert checkpoint.long_context == LongContext(ntk=ntk, logn=logn)
    ids_BT = random_ids(1, length)
    alpha = alpha_of(length, 16) if ntk else 1
    expected = directory.logits(ids_BT[0], alpha=alpha, logn=logn)
    got = model(ids_BT, long_context=checkpoint.long_context)[0]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_decoding_past_steps_keeps_the_prompts_alpha(qwen1_directory):
    directory = qwen1_directory()
    checkpoint, model = load(directory)
    ids_BT = random_ids(1, 50)
    cache = KVCache(model.config, prompt_lengths=[20], long_context=checkpoint.long_context)
    parts = [model(ids_BT[:, :20], cache=cache)]
    parts += [model(ids_BT[:, t : t + 1], cache=cache) for t in range(20, 50)]
    expected = directory.logits(ids_BT[0], alpha=3, logn=True)
    torch.testing.assert_close(torch.cat(parts, 1)[0], expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_windows_are_a_mask_for_each_layer(qwen1_directory):
    directory = qwen1_directory()
    _, model = load(directory)
    ids_BT, windows = random_ids(1, 60), (5, 16, 41)
    methods = LongContext(ntk=True, logn=True, windows=windows)
    expected = directory.logits(ids_BT[0], alpha=alpha_of(60, 16), logn=True, windows=windows)
    got = model(ids_BT, long_context=methods)[0]
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_layer_of_the_original_gives_its_recorded_states_keys_and_values(qwen1_directory):
    """Recorded from the published code: hidden states of 64 tokens, cache of 129 (α = 7)."""
    recorded = load_file(DATA / "qwen1_layer0.safetensors")
    tensors = {name: t for name, t in recorded.items() if name.startswith("transformer.")}
    rows = tensors["transformer.wte.weight"].shape[0]
    tensors["lm_head.weight"] = torch.zeros(rows, 128)
    directory = qwen1_directory(
        tensors=tensors, hidden_size=128, intermediate_size=512, num_hidden_layers=1,
        kv_channels=32, seq_length=64, vocab_size=rows,
    )  # fmt: skip
    checkpoint, model = load(directory)
    states = []
    model.layers[0].register_forward_hook(lambda _m, _i, out: states.append(out))
    model.hidden(recorded["short.ids"][None], long_context=checkpoint.long_context)
    torch.testing.assert_close(states[0][0], recorded["short.hidden"], atol=1e-5, rtol=0)
    cache = KVCache(model.config, prompt_lengths=[129], long_context=checkpoint.long_context)
    model.hidden(recorded["ntk.ids"][None], cache=cache)
    for ours, theirs in zip(
        cache.layer(0), (recorded["ntk.keys"], recorded["ntk.values"]), strict=True
    ):
        at_places = ours[0].transpose(0, 1)[recorded["ntk.places"]]
        torch.testing.assert_close(at_places, theirs, atol=1e-5, rtol=0)


def test_both_generations_of_config_keys_mean_the_same(qwen1_directory):
    later = qwen1_directory("later")
    early = qwen1_directory("early", tensors=later.tensors)
    data = {EARLY_KEYS.get(key, key): value for key, value in early.config.items()}
    (early.path / "config.json").write_text(json.dumps(data))
    assert load(early)[0].config == load(later)[0].config
    assert load(later)[0].config.intermediate_size == 128
    assert (load(later)[0].config.train_length, load(later)[0].context) == (16, 256)


def test_buffers_of_old_checkpoints_are_ignored(qwen1_directory):
    plain = qwen1_directory("plain")
    extra = {
        "transformer.h.0.attn.rotary_emb.inv_freq": torch.ones(8),
        "transformer.h.0.attn.masked_bias": torch.ones(1),
        "transformer.h.0.attn.logn_tensor": torch.ones(1, 4, 1, 1),
    }
    old = qwen1_directory("old", tensors=plain.tensors | extra)
    ids_BT = random_ids(1, 5)
    assert torch.equal(load(old)[1](ids_BT), load(plain)[1](ids_BT))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_embd": 65}, "hidden_size = 64 and n_embd = 65 mean the same and differ"),
        ({"rope_theta": 1e6}, "rotary_emb_base = 10000 and rope_theta = 1000000.0"),
        ({"no_bias": False}, "no_bias = False is not implemented"),
        ({"rotary_pct": 0.25}, "rotary_pct = 0.25 is not implemented"),
        ({"seq_length": None}, "seq_length must be a whole number"),
        ({"intermediate_size": 255}, "must be even"),
        ({"kv_channels": 8}, "4 × 8 must equal hidden_size = 64"),
        ({"quantization_config": {"quant_method": "awq"}}, "quantised by 'awq' are not read"),
    ],
)
def test_a_config_that_no_published_model_has_is_refused(qwen1_directory, changes, message):
    directory = qwen1_directory(tensors={"x": torch.zeros(1)}, **(QWEN1_CONFIG | changes))
    with pytest.raises(UserError, match=message):
        read_checkpoint(directory.path)


def test_stop_ids_come_from_the_generation_config(qwen1_directory):
    directory = qwen1_directory(eos_token_id=7)
    assert read_checkpoint(directory.path).stop_ids == (7,)
    generation = {"eos_token_id": 90, "stop_words_ids": [[91], [3, 4]]}
    (directory.path / "generation_config.json").write_text(json.dumps(generation))
    assert read_checkpoint(directory.path).stop_ids == (90, 91)
