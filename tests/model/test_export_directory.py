import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_models import random_ids, roughen, small_config

from openqwen.core.errors import UserError
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.card import model_card, write_model_card
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.long_context import LongContext

SHAPES = {
    "grouped, as Qwen2": {},
    "tied": {"tie_word_embeddings": True},
    "all heads, as Qwen-1": {"num_key_value_heads": 6},
    "no bias, as Llama": {"qkv_bias": False, "head_dim": 10, "rope_theta": 5e5},
}


def export(directory, model=None, **facts):
    model = model or roughen(new_decoder(small_config(), seed=0)).eval()
    write_export(directory, model, **({"stop_ids": [91, 90], "eos_id": 90} | facts))
    return model


def change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@torch.no_grad()
def test_an_export_loads_with_the_same_logits_here_and_in_transformers(tmp_path, shape):
    transformers = pytest.importorskip("transformers")
    model = roughen(new_decoder(small_config(**shape), seed=0)).eval()
    export(tmp_path, model)
    ids_BT = random_ids(2, 40)
    logits = model(ids_BT)
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.config == model.config
    assert torch.equal(checkpoint.load_model()(ids_BT), logits)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    kind = "Qwen2ForCausalLM" if model.config.qkv_bias else "LlamaForCausalLM"
    assert type(theirs).__name__ == kind
    assert theirs.generation_config.eos_token_id == [91, 90]
    torch.testing.assert_close(theirs.eval()(ids_BT).logits, logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["Qwen2", "Llama"])
def test_a_model_of_transformers_gives_the_same_logits_loss_and_gradients(tmp_path, kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(
        vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=2,
        num_attention_heads=6, num_key_value_heads=2, max_position_embeddings=128,
        tie_word_embeddings=kind == "Qwen2", rms_norm_eps=1e-5,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
    )  # fmt: skip
    theirs = roughen(getattr(transformers, f"{kind}ForCausalLM")(config))
    theirs.save_pretrained(tmp_path)
    ours = read_checkpoint(tmp_path).load_model()
    assert (ours.config.rope_theta, ours.config.rms_norm_eps) == (1e6, 1e-5)
    ids_BT = random_ids(2, 50)
    logits, expected = ours(ids_BT), theirs(ids_BT).logits
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
    for out in (logits, expected):
        torch.nn.functional.cross_entropy(
            out[:, :-1].flatten(0, 1), ids_BT[:, 1:].flatten()
        ).backward()
    torch.testing.assert_close(
        ours.embed_tokens.weight.grad, theirs.model.embed_tokens.weight.grad, atol=1e-5, rtol=1e-4
    )
    qkv = ours.layers[1].attention.qkv.weight.grad
    attention = theirs.model.layers[1].self_attn
    apart = [attention.q_proj, attention.k_proj, attention.v_proj]
    torch.testing.assert_close(qkv, torch.cat([p.weight.grad for p in apart]), atol=1e-5, rtol=1e-4)


def test_what_the_layout_cannot_say_stands_under_openqwen(tmp_path):
    methods = LongContext(ntk=True, logn=False, windows=(8, 16, 64))
    export(tmp_path, long_context=methods, lineage_hash="abc123")
    data = json.loads((tmp_path / "config.json").read_text())
    assert data["openqwen"]["train_length"] == data["max_position_embeddings"] == 16
    assert "max_window_layers" not in data
    assert json.loads((tmp_path / "generation_config.json").read_text())["eos_token_id"] == [91, 90]
    checkpoint = read_checkpoint(tmp_path)
    assert checkpoint.long_context == methods
    assert (checkpoint.lineage_hash, checkpoint.stop_ids) == ("abc123", (90, 91))


def test_the_same_weights_give_the_same_bytes_in_every_process(tmp_path):
    code = """
import sys
from pathlib import Path
from openqwen.model.config import qwen_config
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export
shape = dict(hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=64)
write_export(Path(sys.argv[1]), new_decoder(qwen_config(**shape), seed=5), stop_ids=[60])
"""
    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2, "vocab_size": 64}
    write_export(tmp_path / "a", new_decoder(qwen_config(**shape), seed=5), stop_ids=[60])
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "b")],
        env=os.environ | {"PYTHONHASHSEED": "7"},
        check=True,
    )
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["config.json", "generation_config.json", "model.safetensors"]
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_bfloat16_weights_round_trip_exactly(tmp_path):
    model = new_decoder(small_config(), seed=0, dtype=torch.bfloat16)
    export(tmp_path, model)
    again = read_checkpoint(tmp_path).load_model(dtype=torch.bfloat16)
    for a, b in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)


def test_sharded_weights_load_like_single_ones(tmp_path):
    model = export(tmp_path)
    single = tmp_path / "model.safetensors"
    tensors = load_file(single)
    single.unlink()
    names = sorted(tensors)
    table = {}
    for i, part in enumerate((names[:7], names[7:])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, tmp_path / file)
        table |= dict.fromkeys(part, file)
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    again = read_checkpoint(tmp_path).load_model()
    ids_BT = random_ids(1, 9)
    assert torch.equal(again(ids_BT), model(ids_BT))
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"model-00002-of-00002.safetensors is missing"):
        read_checkpoint(tmp_path).load_model()


def edit_weights(directory, edit):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path)


WEIGHT_MISTAKES = {
    "missing": (
        lambda t: t.pop("model.layers.1.mlp.up_proj.weight"),
        r"tensor model.layers.1.mlp.up_proj.weight is missing",
    ),
    "unknown": (
        lambda t: t.update({"model.layers.9.extra": torch.zeros(2)}),
        r"unknown tensor model.layers.9.extra",
    ),
    "shape": (
        lambda t: t.update({"model.norm.weight": torch.zeros(47)}),
        r"model.norm.weight has shape \(47,\), the configuration asks for \(48,\)",
    ),
    "type": (
        lambda t: t.update({"model.norm.weight": torch.zeros(48, dtype=torch.int32)}),
        r"model.norm.weight has type int32",
    ),
}


@pytest.mark.parametrize(("edit", "message"), WEIGHT_MISTAKES.values(), ids=WEIGHT_MISTAKES.keys())
def test_a_wrong_tensor_is_named(tmp_path, edit, message):
    export(tmp_path)
    edit_weights(tmp_path, edit)
    with pytest.raises(UserError, match=message):
        read_checkpoint(tmp_path).load_model()


def test_a_tied_model_takes_a_stored_head_only_if_it_is_the_embedding(tmp_path):
    model = export(
        tmp_path, roughen(new_decoder(small_config(tie_word_embeddings=True), seed=0)).eval()
    )
    embedding = model.embed_tokens.weight.detach().clone()
    edit_weights(tmp_path, lambda t: t.update({"lm_head.weight": embedding}))
    assert torch.equal(read_checkpoint(tmp_path).load_model().lm_head.weight, embedding)
    edit_weights(tmp_path, lambda t: t.update({"lm_head.weight": embedding + 1}))
    with pytest.raises(UserError, match=r"lm_head\.weight differs from the embedding"):
        read_checkpoint(tmp_path).load_model()


def test_broken_files_give_one_line(tmp_path):
    export(tmp_path)
    weights = tmp_path / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="can't be read as safetensors"):
        read_checkpoint(tmp_path).load_model()
    weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")
    with pytest.raises(UserError, match="is a Git LFS pointer"):
        read_checkpoint(tmp_path).load_model()
    weights.unlink()
    with pytest.raises(UserError, match="no weights: this stage has not finished"):
        read_checkpoint(tmp_path).load_model()
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(UserError, match=r"pytorch_model\.bin is no PyTorch archive"):
        read_checkpoint(tmp_path).load_model()


CONFIG_MISTAKES = [
    ({"model_type": "gpt2"}, "model_type 'gpt2' is not read"),
    ({"hidden_size": None}, "hidden_size must be a whole number, got None"),
    ({"hidden_size": 50}, "must equal hidden_size = 50"),
    ({"rope_parameters": {"rope_theta": 5.0}}, "rope_theta is given twice and differs"),
    ({"rope_scaling": {"type": "dynamic"}}, "rope_scaling of type 'dynamic' is not implemented"),
    ({"use_sliding_window": True}, "use_sliding_window = True is not implemented"),
    ({"quantization_config": {}}, "quantised by None are not read"),
    ({"openqwen": [1]}, r"openqwen must be an object, got \[1\]"),
    ({"rope_parameters": 3}, "rope_parameters must be an object, got 3"),
    ({"openqwen": {"train_length": 16, "long_context": {"windows": [4]}}}, "windows must give"),
]


@pytest.mark.parametrize(("changes", "message"), CONFIG_MISTAKES)
def test_a_config_that_cannot_be_honoured_is_refused(tmp_path, changes, message):
    export(tmp_path)
    change_config(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path)
    assert "config.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_directory_that_is_no_model_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "nowhere")
    with pytest.raises(UserError, match="a stage that has not finished"):
        read_checkpoint(tmp_path)
    export(tmp_path / "run" / "base")
    with pytest.raises(UserError, match=r"give one of the model directories in it: .*run/base$"):
        read_checkpoint(tmp_path / "run")
    with pytest.raises(UserError, match="is a file"):
        read_checkpoint(tmp_path / "run" / "base" / "config.json")


def test_weights_are_readable_by_others_as_the_umask_allows(tmp_path):
    export(tmp_path)
    modes = {(tmp_path / name).stat().st_mode for name in ("model.safetensors", "config.json")}
    assert len(modes) == 1


def test_the_card_shows_every_fact(tmp_path):
    facts = {
        "name": "tiny base",
        "about": "A small model.",
        "lineage": {"recipe": "tiny", "tokens": 1_234_567, "data": {"web": "CC0 | PD"}},
        "licences": ["CC0", "GFDL"],
    }
    write_model_card(tmp_path, facts)
    card = (tmp_path / "README.md").read_text()
    assert card == model_card(facts)
    for line in ("# tiny base", "## Lineage", "| tokens | 1,234,567 |", r"| data.web | CC0 \| PD |",
                 "- GFDL", "A small model."):  # fmt: skip
        assert line in card.splitlines()
