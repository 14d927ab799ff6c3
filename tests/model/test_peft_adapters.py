"""Adapters in PEFT's layout: what PEFT made reads here, and what we write loads there.

The recorded directories and logits are PEFT's own (`peft_cases.py`); where the library is
installed, the same is tried with it.
"""

import json

import pytest
import torch
from peft_cases import CASES, IDS, NEW, RECORDED, load_with_peft, make_adapter, write_base
from safetensors.torch import load_file, save_file
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.model.adapters import TARGETS, TrainedRows, add_lora, merge_lora, train_embeddings
from openqwen.model.formats.adapter import ADAPTER_CONFIG, ADAPTER_WEIGHTS, read_adapter
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.write_adapter import write_adapter

ATOL = 1e-5
KINDS = [(case, tied) for case in CASES for tied in (False, True)]


@pytest.fixture(scope="module")
def recorded():
    """Settings by case, and tensors by "case|name"."""
    settings = json.loads(RECORDED.with_suffix(".json").read_text())
    return settings["cases"], load_file(RECORDED.with_suffix(".safetensors"))


@pytest.fixture
def restore(recorded, tmp_path):
    """Write a recorded adapter beside its base; returns its directory and PEFT's logits."""

    def write(case, tied):
        settings, tensors = recorded
        key = f"{case}, {'tied' if tied else 'untied'}"
        write_base(tmp_path / "base", tied=tied)
        out = tmp_path / "adapter"
        out.mkdir()
        own = {n.split("|")[1]: t for n, t in tensors.items() if n.startswith(f"{key}|")}
        logits = own.pop("logits")
        (out / ADAPTER_CONFIG).write_text(json.dumps(settings[key]))
        save_file(own, out / ADAPTER_WEIGHTS)
        return out, logits

    return write


def shaken(model):
    """Give whatever is trained other values."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.2, generator=generator))
    return model


def ours(directory, *, tied, embeddings):
    """Write a base and an adapter of ours that has learnt something; returns the model."""
    model = write_base(directory / "base", tied=tied)
    add_lora(model, rank=3, alpha=6.0, targets=tuple(TARGETS), seed=1)
    if embeddings != "none":
        train_embeddings(model, NEW if embeddings == "rows" else None)
    shaken(model)
    write_adapter(directory / "adapter", model, base=read_checkpoint(directory / "base"))
    return model


@pytest.mark.parametrize(("case", "tied"), KINDS)
def test_what_peft_made_gives_its_logits_folded_in_beside_and_written_again(
    restore, tmp_path, case, tied
):
    directory, expected = restore(case, tied)
    adapter = read_adapter(directory)
    assert_close(adapter.load_model()(IDS), expected, atol=ATOL, rtol=0)
    model = adapter.load_trainable()
    assert_close(model(IDS), expected, atol=ATOL, rtol=0)
    write_adapter(tmp_path / "again", model, base=adapter.base)
    again = read_adapter(tmp_path / "again")
    assert_close(again.load_model()(IDS), expected, atol=ATOL, rtol=0)
    merge_lora(model)
    assert_close(model(IDS), expected, atol=ATOL, rtol=0)
    assert all(p.requires_grad for p in model.parameters())


def test_parts_that_share_a_take_one_pair_and_others_one_each(restore, tmp_path):
    directory, _ = restore("all parts, A's that differ", True)
    foreign = dict(read_adapter(directory).load_trainable().named_parameters())
    pairs = [n for n in foreign if n.startswith("layers.0.") and n.endswith("lora_a")]
    assert len(pairs) == 5  # q, k, v, gate, up
    (tmp_path / "mine").mkdir()
    ours(tmp_path / "mine", tied=True, embeddings="none")
    model = read_adapter(tmp_path / "mine" / "adapter").load_trainable()
    own = dict(model.named_parameters())
    assert sum(n.endswith("lora_a") for n in own if n.startswith("layers.0.")) == len(TARGETS)
    trained = {name for name, p in own.items() if p.requires_grad}
    assert {name.rsplit(".", 1)[1] for name in trained} == {"lora_a", "lora_b"}


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("embeddings", ["none", "rows", "whole"])
def test_read_back_for_training_it_is_the_same_model_and_the_same_file(tmp_path, tied, embeddings):
    model = ours(tmp_path, tied=tied, embeddings=embeddings)
    adapter = read_adapter(tmp_path / "adapter")
    again = adapter.load_trainable()
    assert torch.equal(again(IDS), model(IDS))
    trained = [
        {name: p for name, p in m.named_parameters() if p.requires_grad} for m in (model, again)
    ]
    assert trained[0].keys() == trained[1].keys()
    write_adapter(tmp_path / "adapter2", again, base=adapter.base)
    for name in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
        written = (tmp_path / "adapter" / name).read_bytes()
        assert (tmp_path / "adapter2" / name).read_bytes() == written


def test_tied_embeddings_stay_tied_where_peft_keeps_them_and_part_where_it_does_not(restore):
    directory, _ = restore("embedding", True)
    parted = read_adapter(directory).load_model()
    assert not parted.config.tie_word_embeddings
    assert not torch.equal(parted.lm_head.weight, parted.embed_tokens.weight)
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | {"ensure_weight_tying": True}))
    kept = read_adapter(directory).load_model()
    assert kept.lm_head.weight is kept.embed_tokens.weight


@pytest.mark.parametrize("tied", [False, True])
def test_only_the_rows_of_the_tokens_are_trained_where_that_is_asked_for(tmp_path, tied):
    model = write_base(tmp_path / "base", tied=tied)
    before, plain = model(IDS), model.lm_head.weight.detach().clone()
    model.requires_grad_(False)
    train_embeddings(model, NEW)
    assert torch.equal(model(IDS), before)
    trained = [p for p in model.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == (1 if tied else 2) * len(NEW) * 16
    model(IDS).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in trained)
    shaken(model)
    moved = (model.lm_head.weight != plain).any(1).nonzero().flatten()
    assert moved.tolist() == list(NEW)
    expected = model(IDS)
    merge_lora(model)
    assert not isinstance(model.embed_tokens, TrainedRows)
    assert_close(model(IDS), expected, atol=ATOL, rtol=0)
    assert (model.lm_head.weight is model.embed_tokens.weight) == tied


def test_rows_have_the_gradient_that_the_whole_matrix_has_there(tmp_path):
    gradients = []
    for rows in (None, NEW):
        model = write_base(tmp_path / "base", tied=True)
        model.requires_grad_(False)
        train_embeddings(model, rows)
        (parameter,) = (p for p in model.parameters() if p.requires_grad)
        model(IDS).square().sum().backward()
        gradients.append(parameter.grad)
    assert_close(gradients[1], gradients[0][list(NEW)])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"lora_bias": True}, "lora_bias = True is not implemented"),
        ({"fan_in_fan_out": True}, "fan_in_fan_out = True is not implemented"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights = 'pissa' is not implemented"),
        ({"alora_invocation_tokens": [5]}, r"alora_invocation_tokens = \[5\] is not implemented"),
        ({"layer_replication": [[0, 2]]}, "layer_replication = .* is not implemented"),
        ({"something_of_next_year": 3}, "something_of_next_year = 3 is not implemented"),
        ({"rank_pattern": {"o_proj": 0}}, "rank of o_proj = 0 .* must be numbers above 0"),
        ({"rank_pattern": {"o_proj": 4}}, "o_proj has rank 3, adapter_config.json says 4"),
        ({"alpha_pattern": {"(": 4}}, "'\\(' is no pattern of module names"),
        ({"modules_to_save": ["norm"]}, "modules_to_save names 'norm'"),
        ({"trainable_token_indices": {"norm": [1]}}, "names 'norm', no embedding"),
        ({"trainable_token_indices": "all"}, "must be ids"),
        ({"trainable_token_indices": [60]}, r"shape \(2, 16\), the base's rows ask for \(1, 16\)"),
        ({"trainable_token_indices": [60, 64]}, "names row 64, the base has 64"),
        ({"trainable_token_indices": None}, "doesn't say which rows"),
        ({"modules_to_save": ["lm_head", "embed_tokens"], "trainable_token_indices": None}, "rows"),
    ],
)
def test_what_would_change_the_numbers_is_refused(restore, change, complaint):
    directory, _ = restore("rows", False)
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(UserError, match=complaint):
        read_adapter(directory).load_model()


def test_a_saved_module_whose_tensor_is_missing_is_refused(restore):
    directory, _ = restore("rows", False)
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | {"modules_to_save": ["lm_head"]}))
    with pytest.raises(UserError, match=r"names lm_head, and .* has no tensor of it"):
        read_adapter(directory)


def test_dropout_inside_an_adapter_is_none_of_inferences_business_and_refused_in_training(restore):
    directory, expected = restore("one layer", True)
    config = json.loads((directory / ADAPTER_CONFIG).read_text())
    (directory / ADAPTER_CONFIG).write_text(json.dumps(config | {"lora_dropout": 0.05}))
    adapter = read_adapter(directory)
    assert_close(adapter.load_model()(IDS), expected, atol=ATOL, rtol=0)
    with pytest.raises(UserError, match=r"lora_dropout = 0.05 .* write 0 there"):
        adapter.load_trainable()


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("embeddings", ["none", "rows", "whole"])
def test_the_peft_library_loads_what_we_write(tmp_path, tied, embeddings):
    pytest.importorskip("peft", reason="PEFT is not installed (pip install --no-deps peft)")
    model = ours(tmp_path, tied=tied, embeddings=embeddings)
    unmerged, merged = load_with_peft(tmp_path / "base", tmp_path / "adapter")
    assert_close(unmerged, model(IDS), atol=ATOL, rtol=0)
    assert_close(merged, model(IDS), atol=ATOL, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "tied"), KINDS)
def test_the_recorded_kinds_hold_with_the_installed_peft(tmp_path, case, tied):
    pytest.importorskip("peft", reason="PEFT is not installed (pip install --no-deps peft)")
    write_base(tmp_path / "base", tied=tied)
    expected = make_adapter(case, tmp_path / "base", tmp_path / "adapter")
    adapter = read_adapter(tmp_path / "adapter", tmp_path / "base")
    assert_close(adapter.load_model()(IDS), expected, atol=ATOL, rtol=0)
    write_adapter(tmp_path / "again", adapter.load_trainable(), base=adapter.base)
    unmerged, _ = load_with_peft(tmp_path / "base", tmp_path / "again")
    assert_close(unmerged, expected, atol=ATOL, rtol=0)
