"""Quantised models: close to the original, kept once converted, anew where files changed."""

import pytest
import torch

import openqwen
from openqwen.core.errors import UserError
from openqwen.core.runtime import cache_directory
from openqwen.infer.quantise import QuantisedLinear, pack, quantise, quantised, unpack
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export

SHAPE = ModelConfig(
    vocab_size=384,
    hidden_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=32,
    intermediate_size=256,
    train_length=64,
)


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENQWEN_CACHE", str(tmp_path / "cache"))
    write_export(tmp_path / "model", new_decoder(SHAPE, seed=3), stop_ids=[1])
    return tmp_path / "model"


@pytest.mark.parametrize(("bits", "group", "step"), [(8, 64, 1 / 127), (4, 32, 1 / 8)])
def test_rounding_is_off_by_half_a_step_of_its_group_at_most(bits, group, step):
    generator = torch.Generator().manual_seed(0)
    weight_NK = torch.randn(50, 192, generator=generator)
    error_NGK = (unpack(pack(weight_NK, bits, group)) - weight_NK).view(50, -1, group).abs()
    largest_NG = weight_NK.view(50, -1, group).abs().amax(-1)
    # at 4 bits the end that has no +8 is rounded to +7, a whole step
    allowed = (0.5 if bits == 8 else 1.0) * step * largest_NG * 1.01
    assert (error_NGK.amax(-1) <= allowed).all()


def test_a_zero_group_and_odd_sizes_survive():
    weight_NK = torch.zeros(3, 64)
    assert torch.equal(unpack(pack(weight_NK, 4, 32)), weight_NK)
    model = new_decoder(SHAPE.model_copy(update={"intermediate_size": 250}), seed=0)
    quantise(model, "int4")
    kinds = {name for name, m in model.named_modules() if isinstance(m, QuantisedLinear)}
    assert "layers.0.mlp.gate_up" in kinds
    assert "layers.0.mlp.down" not in kinds  # 250 columns fit no group


def test_int4_keeps_attention_and_the_head_at_8_bits():
    model = new_decoder(SHAPE, seed=0)
    quantise(model, "int4")
    bits = {n: m.bits for n, m in model.named_modules() if isinstance(m, QuantisedLinear)}
    assert bits["layers.1.mlp.gate_up"] == bits["layers.1.mlp.down"] == 4
    assert bits["layers.1.attention.qkv"] == bits["layers.1.attention.out"] == bits["lm_head"] == 8


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.02), ("int4", 0.12)])
def test_logits_stay_close_and_decoding_follows_them(directory, kind, most):
    ids = torch.randint(0, 384, (1, 50), generator=torch.Generator().manual_seed(1))
    plain = openqwen.load(directory, dtype="float32")
    lm = openqwen.load(directory, dtype="float32", quantize=kind)
    expected, found = plain.logits(ids), lm.logits(ids)
    assert (found - expected).norm() < most * expected.norm()
    session = lm.start(ids[0, :20].tolist())
    for token in ids[0, 20:].tolist():
        session.step(token)
    torch.testing.assert_close(session.logits, found[0, -1], atol=1e-4, rtol=0)


def test_the_second_load_reads_what_the_first_converted(directory, capsys):
    ids = torch.arange(40)[None]
    first = openqwen.load(directory, quantize="int4").logits(ids)
    assert "quantise" in capsys.readouterr().out
    kept = list((cache_directory() / "converted").glob("*.safetensors"))
    assert len(kept) == 1
    second = openqwen.load(directory, quantize="int4").logits(ids)
    assert "quantise" not in capsys.readouterr().out
    assert torch.equal(first, second)


def test_other_weights_under_the_same_name_are_converted_anew(directory):
    ids = torch.arange(40)[None]
    before = openqwen.load(directory, quantize="int8").logits(ids)
    write_export(directory, new_decoder(SHAPE, seed=4), stop_ids=[1])
    after = openqwen.load(directory, quantize="int8").logits(ids)
    expected = openqwen.load(directory).logits(ids)
    assert (after - before).abs().max() > 0.1
    assert (after - expected).norm() < 0.05 * expected.norm()


@pytest.mark.parametrize("damage", ["cut", "empty", "other"])
def test_a_broken_kept_file_is_made_anew(directory, damage):
    ids = torch.arange(40)[None]
    first = openqwen.load(directory, quantize="int8").logits(ids)
    (kept,) = (cache_directory() / "converted").glob("*.safetensors")
    whole = kept.read_bytes()
    kept.write_bytes({"cut": whole[: len(whole) // 2], "empty": b"", "other": b"x" * 100}[damage])
    assert torch.equal(openqwen.load(directory, quantize="int8").logits(ids), first)
    assert kept.stat().st_size == len(whole)


def test_where_no_kernel_takes_the_type_the_unpacked_matrix_is_multiplied():
    generator = torch.Generator().manual_seed(0)
    plain = torch.nn.Linear(128, 40)
    with torch.no_grad():
        plain.weight.normal_(generator=generator)
    layer = quantised(plain, 8)
    x = torch.randn(3, 128, generator=generator, dtype=torch.float64)
    expected = x @ unpack(layer.packed).double().T + plain.bias.double()
    torch.testing.assert_close(layer(x), expected)


def test_an_unknown_kind_is_one_line(directory):
    with pytest.raises(UserError, match="quantize is one of int8, int4, got 'int3'"):
        openqwen.load(directory, quantize="int3")
