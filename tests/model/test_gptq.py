"""GPTQ directories, packed here word by word from the published layout."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import QWEN1_CONFIG, random_ids, roughen, small_config

from openqwen.core.errors import UserError
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export

QWEN1_MATRICES = ("attn.c_attn", "attn.c_proj", "mlp.w1", "mlp.w2", "mlp.c_proj")
QWEN2_MATRICES = (
    *(f"self_attn.{letter}_proj" for letter in "qkvo"),
    *(f"mlp.{kind}_proj" for kind in ("gate", "up", "down")),
)


def pack_down(codes_RC, bits):
    """int32 words of `32 / bits` codes below each other, lowest bits first; one code at a time."""
    per_word = 32 // bits
    rows, columns = codes_RC.shape
    words = torch.zeros(rows // per_word, columns, dtype=torch.int64)
    for row in range(rows):
        words[row // per_word] |= codes_RC[row] << bits * (row % per_word)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def quantise(weight_OI, *, bits, group_size, order=None, symmetric=True, stored_less=1):
    """Return the packed tensors of a matrix and the weights they mean, in float64.

    `order` says in which order columns fill the groups (desc_act); codes are whatever is nearest.
    """
    rows, columns = weight_OI.shape
    size = columns if group_size == -1 else group_size
    order = torch.arange(columns) if order is None else order
    group_I = torch.empty(columns, dtype=torch.int32)
    group_I[order] = torch.arange(columns, dtype=torch.int32) // size
    top = (1 << bits) - 1
    scales, zeros = [], []
    for group in range(int(group_I.max()) + 1):
        mine_OI = weight_OI[:, group_I == group].double()
        low, high = mine_OI.amin(1).clamp(max=0), mine_OI.amax(1).clamp(min=0)
        if symmetric:
            scale = 2 * torch.maximum(-low, high) / top
            zero = torch.full((rows,), (top + 1) // 2)
        else:
            scale = (high - low) / top
            zero = (-low / scale).round().long()
        scales.append(scale.half())
        zeros.append(zero)
    scales_GO, zeros_GO = torch.stack(scales), torch.stack(zeros)
    scale_OI, zero_OI = scales_GO[group_I.long()].T.double(), zeros_GO[group_I.long()].T
    codes_OI = (weight_OI.double() / scale_OI).round().long().add(zero_OI).clamp(0, top)
    packed = {
        "qweight": pack_down(codes_OI.T, bits),
        "qzeros": pack_down((zeros_GO - stored_less).bitwise_and(top).T.contiguous(), bits).T,
        "scales": scales_GO,
        "g_idx": group_I,
    }
    return packed, scale_OI * (codes_OI - zero_OI)


def pack_directory(path, matrices, *, bits=4, group_size=16, inside=True, **changes):
    """Pack a directory's matrices; return the plain tensors that they mean."""
    tensors = load_file(path / "model.safetensors")
    plain = dict(tensors)
    less = 0 if changes.get("checkpoint_format") == "gptq_v2" else 1
    generator = torch.Generator().manual_seed(3)
    for name in list(tensors):
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and module.endswith(matrices):
            weight = tensors.pop(name)
            order = None
            if changes.get("desc_act"):
                order = torch.randperm(weight.shape[1], generator=generator)
            packed, meant = quantise(
                weight,
                bits=bits,
                group_size=group_size,
                order=order,
                symmetric=changes.get("sym", True),
                stored_less=less,
            )
            tensors |= {f"{module}.{kind}": part.contiguous() for kind, part in packed.items()}
            plain[name] = meant.float()
            if f"{module}.bias" not in tensors:  # the published tool writes one everywhere
                tensors[f"{module}.bias"] = torch.zeros(len(weight), dtype=torch.float16)
    save_file(tensors, path / "model.safetensors")
    settings = {"bits": bits, "group_size": group_size, "desc_act": False, "sym": True} | changes
    if inside:
        config = json.loads((path / "config.json").read_text())
        config["quantization_config"] = settings | {"quant_method": "gptq"}
        (path / "config.json").write_text(json.dumps(config))
    else:
        (path / "quantize_config.json").write_text(json.dumps(settings))
    return plain


SETTINGS = {
    "int4": {},
    "int8": {"bits": 8},
    "one group": {"group_size": -1},
    "columns in another order": {"desc_act": True},
    "zero points of their own": {"sym": False},
    "int8 with zero points": {"bits": 8, "sym": False},
    "settings in a file of their own": {"inside": False},
    "second version": {"checkpoint_format": "gptq_v2", "sym": False},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_a_packed_qwen1_directory_means_exactly_its_integers(qwen1_directory, settings):
    directory = qwen1_directory(use_dynamic_ntk=False, use_logn_attn=False)
    plain = pack_directory(directory.path, QWEN1_MATRICES, **settings)
    checkpoint = read_checkpoint(directory.path)
    source = checkpoint.open_weights()
    for name in checkpoint.parts:
        assert torch.equal(source.read(name), plain[name]), name
        assert source.shape(name) == plain[name].shape
    directory.tensors = plain
    ids = random_ids(20)
    logits = checkpoint.load_model()(ids[None])[0]
    torch.testing.assert_close(logits, directory.logits(ids), atol=1e-4, rtol=0)


def test_a_packed_qwen2_directory_loads_too(tmp_path):
    model = roughen(new_decoder(small_config(hidden_size=96, head_dim=16), seed=0)).eval()
    write_export(tmp_path, model, stop_ids=[1])
    pack_directory(tmp_path, QWEN2_MATRICES, bits=8, group_size=32)
    loaded = read_checkpoint(tmp_path).load_model()
    ids_BT = random_ids(2, 12)
    error = (loaded(ids_BT) - model(ids_BT)).abs().max()
    assert 0 < error < 0.05 * model(ids_BT).abs().max()


def test_rows_unpacked_in_pieces_are_those_unpacked_at_once(qwen1_directory):
    directory = qwen1_directory()
    pack_directory(directory.path, QWEN1_MATRICES, sym=False, desc_act=True)
    source = read_checkpoint(directory.path).open_weights()
    name = "transformer.h.0.attn.c_attn.weight"
    whole = source.read(name)
    for start, stop in ((0, 1), (3, 30), (7, 9), (191, 192)):
        assert torch.equal(source.read(name, start, stop), whole[start:stop])


FIRST = "transformer.h.0.mlp.w1"
MISTAKES = {
    "no scales": (lambda t: t.pop(f"{FIRST}.scales"), r"w1\.scales is missing"),
    "wrong groups": (
        lambda t: t.update({f"{FIRST}.scales": t[f"{FIRST}.scales"][:-1].clone()}),
        "in groups of 16, but scales of shape",
    ),
    "wrong type": (
        lambda t: t.update({f"{FIRST}.qweight": t[f"{FIRST}.qweight"].float()}),
        "are no int32 matrices",
    ),
    "group out of range": (
        lambda t: t.update({f"{FIRST}.g_idx": t[f"{FIRST}.g_idx"] + 1}),
        r"g_idx is not a group below 4",
    ),
    "both": (
        lambda t: t.update({f"{FIRST}.weight": torch.zeros(128, 64)}),
        "both packed and plain",
    ),
    "a bias that counts": (
        lambda t: t.update({f"{FIRST}.bias": torch.ones(128)}),
        r"unknown tensor transformer\.h\.0\.mlp\.w1\.bias",
    ),
    "shape": (
        lambda t: t.update(
            {
                f"{FIRST}.qweight": t[f"{FIRST}.qweight"].repeat(1, 2),
                f"{FIRST}.qzeros": t[f"{FIRST}.qzeros"].repeat(1, 2),
                f"{FIRST}.scales": t[f"{FIRST}.scales"].repeat(1, 2),
            }
        ),
        r"w1\.weight has shape \(256, 64\), the configuration asks for \(128, 64\)",
    ),
}


@pytest.mark.parametrize(("edit", "message"), MISTAKES.values(), ids=MISTAKES.keys())
def test_packed_tensors_that_do_not_fit_are_named(qwen1_directory, edit, message):
    path = qwen1_directory().path
    pack_directory(path, QWEN1_MATRICES)
    tensors = load_file(path / "model.safetensors")
    edit(tensors)
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(path).load_model()
    assert "\n" not in str(caught.value)


BAD_SETTINGS = {
    "bits": ({"bits": 3}, "weights of 3 bits are not read; 4 and 8 are"),
    "group size": ({"group_size": 0}, "group_size = 0 is neither"),
    "format": ({"checkpoint_format": "marlin"}, "checkpoint_format 'marlin' is not read"),
    "method": ({"quant_method": "awq"}, "quantised by 'awq' are not read; gptq are"),
}


@pytest.mark.parametrize(("changes", "message"), BAD_SETTINGS.values(), ids=BAD_SETTINGS.keys())
def test_another_packing_is_refused(qwen1_directory, changes, message):
    directory = qwen1_directory()
    settings = {"bits": 4, "group_size": 16, "quant_method": "gptq"} | changes
    path = directory.path / "quantize_config.json"
    path.write_text(json.dumps(settings))
    with pytest.raises(UserError, match=message):
        read_checkpoint(directory.path)
    path.unlink()
    config = directory.config | {"quantization_config": settings}
    (directory.path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=message):
        read_checkpoint(directory.path)


def test_settings_without_packed_tensors_are_a_mistake(qwen1_directory):
    path = qwen1_directory().path
    (path / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 16}))
    with pytest.raises(UserError, match="say GPTQ, but no tensor is packed"):
        read_checkpoint(path).load_model()


def random_words(rows, columns):
    return torch.randint(-(1 << 31), 1 << 31, (rows, columns)).to(torch.int32)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_unpacking_takes_no_more_anonymous_memory_than_115_percent_of_the_weights(tmp_path):
    hidden, ffn, layers, rows, size = 1024, 2816, 12, 32_000, 128
    shape = {"hidden_size": hidden, "intermediate_size": 2 * ffn, "num_hidden_layers": layers}
    shape |= {"num_attention_heads": 8, "kv_channels": 128, "vocab_size": rows}
    settings = {"bits": 4, "group_size": size, "quant_method": "gptq"}
    (tmp_path / "config.json").write_text(
        json.dumps(QWEN1_CONFIG | shape | {"quantization_config": settings})
    )
    tensors = {
        "transformer.wte.weight": torch.randn(rows, hidden).half(),
        "lm_head.weight": torch.randn(rows, hidden).half(),
        "transformer.ln_f.weight": torch.ones(hidden).half(),
    }
    matrices = {"attn.c_attn": (3 * hidden, hidden), "attn.c_proj": (hidden, hidden)}
    matrices |= {"mlp.w1": (ffn, hidden), "mlp.w2": (ffn, hidden), "mlp.c_proj": (hidden, ffn)}
    for layer in range(layers):
        name = f"transformer.h.{layer}"
        tensors |= {f"{name}.ln_{i}.weight": torch.ones(hidden).half() for i in (1, 2)}
        for module, (out, columns) in matrices.items():
            tensors[f"{name}.{module}.qweight"] = random_words(columns // 8, out)
            tensors[f"{name}.{module}.qzeros"] = random_words(columns // size, out // 8)
            tensors[f"{name}.{module}.scales"] = torch.rand(columns // size, out).half()
            tensors[f"{name}.{module}.bias"] = torch.zeros(out).half()
    save_file(tensors, tmp_path / "model.safetensors")
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "memory_of_loading.py", tmp_path],
        check=True,
        capture_output=True,
        text=True,
    )
    cost = json.loads(done.stdout)
    print(cost)
    assert cost["after"] >= 0.95 * cost["weights"]
    assert cost["peak"] <= 1.15 * cost["weights"]
