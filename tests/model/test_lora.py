import json
import re
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import openqwen
from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.model.adapters import (
    TARGETS,
    LoraLinear,
    LowRank,
    adapters_of,
    add_lora,
    merge_lora,
)
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    read_adapter,
)
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.formats.parts import gguf_parts, qwen1_parts
from openqwen.model.formats.write_adapter import write_adapter

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=512, train_length=32
)
IDS = torch.arange(20)[None]


def adapted(seed=0):
    """A model with adapters that have learnt something."""
    model = new_decoder(SHAPE, seed=0)
    add_lora(model, rank=4, alpha=8.0, targets=tuple(TARGETS), seed=1)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for _, _, _, adapter in adapters_of(model):
            for pair in adapter.parts:
                pair.lora_b.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture
def saved(tmp_path, byte_tokenizer):
    """A base and an adapter directory beside it; returns the adapter's and the trained model."""
    base = new_decoder(SHAPE, seed=0)
    write_export(tmp_path / "base", base, stop_ids=byte_tokenizer.stop_ids)
    byte_tokenizer.save(tmp_path / "base")
    model = adapted()
    (tmp_path / "adapter").mkdir()
    write_adapter(tmp_path / "adapter", model, base=read_checkpoint(tmp_path / "base"))
    return tmp_path / "adapter", model


def test_a_new_adapter_changes_nothing_and_only_it_is_trained():
    model = new_decoder(SHAPE, seed=0)
    before = model(IDS)
    add_lora(model, rank=4, alpha=8.0, targets=("qkv", "down"), seed=1)
    assert torch.equal(model(IDS), before)
    trained = {name.rsplit(".", 1)[1] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"lora_a", "lora_b"}
    assert len(list(adapters_of(model))) == 4
    with pytest.raises(ValueError, match="no matrix 'q_proj' to adapt"):
        add_lora(new_decoder(SHAPE, seed=0), rank=4, alpha=8.0, targets=("q_proj",), seed=1)


def test_merged_is_unmerged_and_the_names_are_a_plain_models():
    model = adapted()
    before = model(IDS)
    assert not torch.allclose(before, new_decoder(SHAPE, seed=0)(IDS), atol=1e-3)
    merge_lora(model)
    assert_close(model(IDS), before, atol=1e-5, rtol=0)
    assert model.state_dict().keys() == new_decoder(SHAPE, seed=0).state_dict().keys()


def test_merged_and_unmerged_outputs_are_both_within_the_bound_of_the_exact_one():
    generator = torch.Generator().manual_seed(3)
    rows, columns, rank = 48, 300, 8
    base = torch.nn.Linear(columns, rows, bias=False)
    pair = LowRank(
        start=0, rows=rows, columns=columns, rank=rank, alpha=24.0, device=torch.device("cpu")
    )
    x_ND = torch.randn(64, columns, generator=generator)
    with torch.no_grad():
        for weight in (base.weight, pair.lora_a, pair.lora_b):
            weight.normal_(0, 1, generator=generator)
        w, a, b, x = (t.double() for t in (base.weight, pair.lora_a, pair.lora_b, x_ND))
        exact = x @ (w + pair.scale * b @ a).T
        size = x.abs() @ (w.abs() + abs(pair.scale) * b.abs() @ a.abs()).T
        bound = 2 * (columns + rank + 3) * 2.0**-24 * size
        adapted = LoraLinear(base, [pair])
        unmerged = adapted(x_ND)
        merged = adapted.merged()(x_ND)
    for found in (unmerged, merged):
        assert bool(((found.double() - exact).abs() <= bound).all())
    assert not torch.equal(unmerged, merged)  # rounding is all that differs, and it does


def test_merging_in_bfloat16_rounds_once():
    model, exact = adapted(), adapted()
    model.to(torch.bfloat16)
    for plain, half in zip(adapters_of(exact), adapters_of(model), strict=True):
        wide = plain[3].base.weight.to(torch.bfloat16).float()
        for pair in half[3].parts:
            wide += pair.product()
        assert torch.equal(half[3].merged().weight, wide.to(torch.bfloat16))


def test_an_adapter_directory_in_pefts_layout_loads_as_the_trained_model(saved):
    directory, model = saved
    names = load_file(directory / ADAPTER_WEIGHTS).keys()
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names
    assert "base_model.model.model.layers.1.mlp.down_proj.lora_B.weight" in names
    lm = openqwen.load(directory, dtype="float32")
    assert_close(lm.logits(IDS), model(IDS), atol=1e-5, rtol=0)
    assert lm.tokenizer is not None


def test_a_foreign_adapter_may_have_different_factors_for_q_and_k(saved):
    directory, _ = saved
    path = directory / ADAPTER_WEIGHTS
    tensors = load_file(path)
    name = "base_model.model.model.layers.0.self_attn.k_proj.lora_A.weight"
    tensors[name] = torch.randn(4, 32, generator=torch.Generator().manual_seed(5))
    save_file(tensors, path)
    merged = read_adapter(directory).load_model()
    plain = new_decoder(SHAPE, seed=0)
    rows = slice(32, 64)  # of the packed matrix, k's
    b = tensors[name.replace("lora_A", "lora_B")]
    expected = plain.layers[0].attention.qkv.weight[rows] + 2.0 * b @ tensors[name]
    assert_close(merged.layers[0].attention.qkv.weight[rows], expected, atol=1e-6, rtol=0)


def test_the_merge_verb_writes_a_model_directory(saved, tmp_path, capsys):
    directory, model = saved
    assert main(["merge", str(directory), "--out", str(tmp_path / "merged")]) == 0
    said = capsys.readouterr().out
    assert "in bfloat16" in said
    lost = float(re.search(r"rounding to bfloat16 lost ([\d.]+) % of what the adapter", said)[1])
    assert 0 < lost < 20
    lm = openqwen.load(tmp_path / "merged", dtype="float32")
    assert_close(lm.logits(IDS), model(IDS), atol=2e-2, rtol=0)
    exact = ["--out", str(tmp_path / "exact"), "--dtype", "float32"]
    assert main(["merge", str(directory), *exact]) == 0
    assert "lost" not in capsys.readouterr().out
    lm = openqwen.load(tmp_path / "exact", dtype="float32")
    assert_close(lm.logits(IDS), model(IDS), atol=1e-5, rtol=0)
    assert main(["merge", str(directory), "--out", str(tmp_path / "merged")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "base"), "--out", str(tmp_path / "x")]) == 2
    assert "is no adapter" in capsys.readouterr().err


def test_an_adapter_is_folded_into_a_model_that_is_named_beside_it(saved, tmp_path, capsys):
    directory, model = saved
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    moved = config | {"base_model_name_or_path": "gone"}
    (directory / ADAPTER_CONFIG).write_text(json.dumps(moved))
    lm = openqwen.load(tmp_path / "base", adapter=directory, dtype="float32")
    assert_close(lm.logits(IDS), model(IDS), atol=1e-5, rtol=0)
    command = ["generate", str(tmp_path / "base"), "ab", "--adapter", str(directory), "--greedy"]
    assert main([*command, "--max-new-tokens", "2", "--dtype", "float32"]) == 0
    assert f"base with {directory}" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"base is no adapter: it has no adapter_config\.json"):
        openqwen.load(tmp_path / "base", adapter=tmp_path / "base")
    with pytest.raises(UserError, match="is an adapter itself; merge it first"):
        openqwen.load(directory, adapter=directory)
    with pytest.raises(UserError, match="is an adapter, no model: fold it into its base first"):
        read_checkpoint(directory)


def test_an_adapter_of_a_qwen1_base_has_that_layouts_names(saved, tmp_path):
    _, model = saved
    base = read_checkpoint(tmp_path / "base")
    square = replace(base, parts=qwen1_parts(base.config))
    write_adapter(tmp_path / "other", model, base=square)
    names = load_file(tmp_path / "other" / ADAPTER_WEIGHTS).keys()
    assert "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight" in names
    gguf = replace(base, parts=gguf_parts(base.config, packed=False))
    write_adapter(tmp_path / "third", model, base=gguf)
    names = load_file(tmp_path / "third" / ADAPTER_WEIGHTS).keys()
    assert "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" in names


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("peft_type", "IA3", "peft_type 'IA3' is not read"),
        ("use_dora", True, "use_dora = True is not implemented"),
        ("bias", "all", "bias = 'all' is not implemented"),
        ("r", 0, "must be numbers above 0"),
        ("base_model_name_or_path", "gone", "the base model gone"),
    ],
)
def test_what_is_no_plain_lora_is_refused_in_one_line(saved, key, value, complaint):
    directory, _ = saved
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | {key: value}))
    with pytest.raises(UserError, match=complaint):
        read_adapter(directory)
