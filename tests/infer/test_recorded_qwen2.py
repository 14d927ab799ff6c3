"""Recorded cases of the transformers library on random Qwen2 and Llama models, float32 to 1e-4.

One model stands here with a selection of its numbers (`data/tiny_qwen2.safetensors`); both stand
whole beside the development data ($OPENQWEN_DATA), which is not part of the project.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from openqwen.core.runtime import development_data
from openqwen.infer.load import load
from openqwen.model.formats.parts import qwen2_parts

HERE = Path(__file__).parent / "data"
SELECTED = "tiny_qwen2, a selection"
MODELS = [SELECTED, "tiny_qwen2_gqa_tied", "tiny_llama"]


class Case:
    """A model directory and what was recorded of it; `places` are the positions that are there."""

    def __init__(self, directory, recorded, gradients, places):
        self.directory, self.recorded = directory, recorded
        self.gradients, self.places = gradients, places
        self.lm = load(directory, dtype="float32")


@pytest.fixture(scope="module", params=MODELS)
def case(request, tmp_path_factory):
    if request.param == SELECTED:
        return selected_case(tmp_path_factory.mktemp("qwen2"))
    data = development_data()
    folder = data.parent / "references" / "qwen2" / request.param if data else None
    if folder is None or not folder.is_dir():
        pytest.skip("no recorded references beside $OPENQWEN_DATA")
    recorded = load_file(folder / "reference.safetensors")
    return Case(folder, recorded, load_file(folder / "grads.safetensors"), torch.arange(200))


def selected_case(directory):
    tensors = load_file(HERE / "tiny_qwen2.safetensors")
    weights = {name: t for name, t in tensors.items() if name.startswith("model.")}
    save_file(weights, directory / "model.safetensors")
    (directory / "config.json").write_text((HERE / "tiny_qwen2.json").read_text())
    recorded = {n.removeprefix("recorded."): t for n, t in tensors.items() if "recorded." in n}
    gradients = {n.removeprefix("gradient."): t for n, t in tensors.items() if "gradient." in n}
    return Case(directory, recorded, gradients, recorded.pop("places"))


def assert_near(ours, recorded):
    torch.testing.assert_close(ours, recorded, atol=1e-4, rtol=0)


@torch.no_grad()
def test_logits_and_states_of_every_layer_are_the_recorded_ones(case):
    ids_BT, places = case.recorded["input_ids"], case.places
    states = [case.lm.model.embed_tokens(ids_BT)]
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, out: states.append(out))
        for layer in case.lm.model.layers
    ]
    assert_near(case.lm.logits(ids_BT)[:, places], case.recorded["logits"])
    for hook in hooks:
        hook.remove()
    states[-1] = case.lm.model.norm(states[-1])  # the last one is recorded behind the final norm
    for index, state in enumerate(states):
        assert_near(state[:, places], case.recorded[f"hidden_{index}"])


@torch.no_grad()
def test_rows_padded_on_the_left_give_the_recorded_logits(case):
    recorded = case.recorded
    mask_BT = recorded["batch_mask"].bool()
    lengths = mask_BT.sum(1).tolist()
    got_BTV = case.lm.logits(recorded["batch_ids"], lengths, padding="left")
    theirs = recorded["batch_logits"]
    shown = theirs.shape[1]  # the last positions of each row
    mask_BT = mask_BT[:, -shown:]
    assert_near(got_BTV[:, -shown:][mask_BT], theirs[mask_BT])


def test_forty_greedy_tokens_are_the_recorded_ones(case):
    ids = case.recorded["greedy_from60"][0].tolist()
    options = {"max_new_tokens": 40, "ignore_stop_ids": True}
    assert case.lm.generate([ids[:60]], **options)[0].ids == ids[60:]


def test_loss_and_gradients_are_the_recorded_ones(case):
    model = case.lm.model
    labels_BT = case.recorded["loss_labels"]
    logits_BTV = model(case.recorded["input_ids"][:, : labels_BT.shape[1]])
    loss = functional.cross_entropy(
        logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=-100
    )
    assert loss.item() == pytest.approx(float(case.recorded["loss"]), abs=1e-4)
    parameters = dict(model.named_parameters())
    grads = dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values())), strict=True))
    parts = qwen2_parts(model.config)
    assert case.gradients
    for name, theirs in case.gradients.items():
        part = parts[name]
        ours = grads[part.parameter][part.start : part.start + part.rows]
        # gradients differ in size by the layer, so the bound is relative to each tensor
        assert (ours - theirs).abs().max() <= 1e-4 * max(1.0, float(theirs.abs().max())), name


def test_the_selection_is_of_the_published_kind():
    config = json.loads((HERE / "tiny_qwen2.json").read_text())
    assert (config["model_type"], config["tie_word_embeddings"]) == ("qwen2", True)
    assert config["num_key_value_heads"] < config["num_attention_heads"]
