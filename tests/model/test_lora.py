import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

import openqwen
from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.model.adapters import TARGETS, adapters_of, add_lora, merge_lora
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.adapter import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    read_adapter,
)
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
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
    lm = openqwen.load(tmp_path / "merged", dtype="float32")
    assert_close(lm.logits(IDS), model(IDS), atol=2e-2, rtol=0)  # written in bfloat16
    assert main(["merge", str(directory), "--out", str(tmp_path / "merged")]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "base"), "--out", str(tmp_path / "x")]) == 2
    assert "is no adapter" in capsys.readouterr().err


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
