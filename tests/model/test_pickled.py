import json
import zipfile
from pathlib import Path

import pytest
import torch
from small_models import random_ids, roughen, small_config

from openqwen.core.errors import UserError
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.formats.parts import qwen2_parts


@pytest.fixture
def pickled(tmp_path):
    """A model directory with a .bin file in place of its safetensors; returns model and tensors."""
    model = roughen(new_decoder(small_config(), seed=0)).eval()
    write_export(tmp_path, model, stop_ids=[1])
    (tmp_path / "model.safetensors").unlink()
    parameters = dict(model.named_parameters())
    tensors = {
        name: parameters[part.parameter][part.start : part.start + part.rows].detach().clone()
        for name, part in qwen2_parts(model.config).items()
    }
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    return model, tensors


def test_a_bin_checkpoint_gives_the_models_logits(tmp_path, pickled):
    model, tensors = pickled
    loaded = read_checkpoint(tmp_path).load_model()
    assert torch.equal(loaded(random_ids(1, 9)), model(random_ids(1, 9)))
    buffers = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
    torch.save(tensors | buffers, tmp_path / "pytorch_model.bin")
    assert read_checkpoint(tmp_path).load_model().embed_tokens.weight.shape == (96, 48)


def test_shards_are_read_by_their_index(tmp_path, pickled):
    model, tensors = pickled
    (tmp_path / "pytorch_model.bin").unlink()
    names = list(tensors)
    table = {}
    for number, part in enumerate((names[:9], names[9:]), 1):
        file = f"pytorch_model-{number:05}-of-00002.bin"
        torch.save({name: tensors[name] for name in part}, tmp_path / file)
        table |= dict.fromkeys(part, file)
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": table}))
    loaded = read_checkpoint(tmp_path).load_model()
    assert torch.equal(loaded(random_ids(1, 9)), model(random_ids(1, 9)))
    (tmp_path / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match=r"00002-of-00002\.bin is missing, though .* names it"):
        read_checkpoint(tmp_path).load_model()


def test_safetensors_come_first_where_both_are_there(tmp_path, pickled):
    model, _ = pickled
    write_export(tmp_path, model, stop_ids=[1])
    (tmp_path / "pytorch_model.bin").write_bytes(b"broken")
    assert read_checkpoint(tmp_path).load_model() is not None


class Runs:
    """A pickle that creates a file when it is read in the usual way."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_code_in_a_pickle_is_refused_and_does_not_run(tmp_path, pickled):
    trace, path = tmp_path / "it-ran", tmp_path / "pytorch_model.bin"
    torch.save(pickled[1] | {"model.norm.weight": Runs(trace)}, path)
    with pytest.raises(UserError, match="holds more than tensors, perhaps code") as caught:
        read_checkpoint(tmp_path).load_model()
    assert "\n" not in str(caught.value)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the same file does run where nobody takes care
    assert trace.exists()


def store(path, value):
    torch.save(value, path)


def pack(path, value):
    """The same archive, but compressed."""
    torch.save(value, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


FOREIGN = {
    "a list": (lambda p, t: store(p, [torch.ones(2)]), "holds a list, not a table"),
    "a number": (lambda p, t: store(p, t | {"epoch": 3}), "'epoch' is no tensor"),
    "no name": (lambda p, t: store(p, t | {3: torch.ones(2)}), "'3' is no tensor with a name"),
    "sparse": (
        lambda p, t: store(p, t | {"model.norm.weight": torch.ones(48).to_sparse()}),
        "tensor model.norm.weight is not plain",
    ),
    "integers": (
        lambda p, t: store(p, t | {"model.norm.weight": torch.ones(48).int()}),
        "model.norm.weight has type int32",
    ),
    "old format": (
        lambda p, t: torch.save(t, p, _use_new_zipfile_serialization=False),
        "is no PyTorch archive",
    ),
    "compressed": (pack, "holds packed entries"),
    "pointer": (
        lambda p, t: p.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"),
        "is a Git LFS pointer, not the weights",
    ),
    "cut": (lambda p, t: p.write_bytes(p.read_bytes()[:9000]), "is no PyTorch archive"),
    "unknown": (lambda p, t: store(p, t | {"x": torch.ones(2)}), "unknown tensor x"),
    "a huge view": (
        lambda p, t: store(p, t | {"model.norm.weight": torch.ones(1).expand(1 << 40)}),
        r"model.norm.weight has shape \(1099511627776,\)",
    ),
}


@pytest.mark.parametrize(("write", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_plain_checkpoint_gives_one_line(tmp_path, pickled, write, message):
    write(tmp_path / "pytorch_model.bin", pickled[1])
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(tmp_path).load_model()
    assert "\n" not in str(caught.value)
