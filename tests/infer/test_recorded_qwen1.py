"""Every recorded case of the published Qwen-1 code: 22 on one random model, float32 to 1e-4.

The recordings are not part of the project: they lie beside the development data ($OPENQWEN_DATA).
Where the original has a defect, the test says so and holds ours against the right thing.
"""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from openqwen.core.runtime import development_data
from openqwen.infer.load import load
from openqwen.model.kv_cache import KVCache
from openqwen.model.likelihood import IGNORED, sequence_losses
from openqwen.model.long_context import LongContext

PREFILLS = [
    "a_short_L001", "a_short_L017", "a_short_L064",
    "b_long_L065_both", "b_long_L100_both", "b_long_L129_both", "b_long_L129_lognonly",
    "b_long_L129_ntkonly", "b_long_L200_both",
    "d_long_L100_off", "d_long_L129_off", "d_short_L064_off",
]  # fmt: skip
STEPPED = [
    "c_incr_p040_t100_both", "c_incr_p040_t100_lognonly", "c_incr_p040_t100_ntkonly",
    "c_incr_p040_t100_off", "c_incr_p063_t070_both",
]  # fmt: skip
OTHERS = [
    "e_batch_leftpad_both", "g_trainmode_L200", "i_loss_L048", "k_greedy_p060_both",
    "l_bf16_prefill",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder():
    data = development_data()
    folder = data.parent / "references" / "qwen1" if data else None
    if folder is None or not folder.is_dir():
        pytest.skip("no recorded references beside $OPENQWEN_DATA")
    return folder


@pytest.fixture
def case(folder, tmp_path):
    """Loads a case: its model, its tensors, its meta data."""

    def make(name, **options):
        directory = tmp_path / name
        directory.mkdir(exist_ok=True)
        (directory / "config.json").write_text((folder / name / "config.json").read_text())
        if not (directory / "model.safetensors").exists():
            (directory / "model.safetensors").symlink_to(folder / "model.safetensors")
        lm = load(directory, **({"dtype": "float32"} | options))
        meta = json.loads((folder / name / "meta.json").read_text())
        return lm, load_file(folder / name / "reference.safetensors"), meta

    return make


def assert_near(ours, recorded):
    torch.testing.assert_close(ours, recorded, atol=1e-4, rtol=0)


def test_no_recorded_case_is_left_out(folder):
    recorded = {path.name for path in folder.iterdir() if path.is_dir()}
    assert recorded == {*PREFILLS, *STEPPED, *OTHERS}
    assert len(recorded) == 22


@pytest.mark.parametrize("name", PREFILLS)
@torch.no_grad()
def test_one_prefill_gives_the_recorded_logits_states_keys_and_values(case, name):
    lm, recorded, meta = case(name)
    ids_BT = recorded["input_ids"]
    states = [lm.model.embed_tokens(ids_BT)]
    for layer in lm.model.layers:
        layer.register_forward_hook(lambda _module, _inputs, out: states.append(out))
    assert_near(lm.logits(ids_BT), recorded["logits"])
    states[-1] = lm.model.norm(states[-1])  # the last one is recorded behind the final norm
    for index, state in enumerate(states):
        if f"hidden_{index}" in recorded:
            assert_near(state, recorded[f"hidden_{index}"])
    cache = KVCache(lm.config, prompt_lengths=[ids_BT.shape[1]], long_context=lm.long_context)
    lm.model.hidden(ids_BT, cache=cache)
    assert cache.alphas == [int(alpha) for alpha in meta.get("ntk_alpha", cache.alphas)]
    for ours, kind in zip(cache.layer(0), ("key", "value"), strict=True):
        if f"{kind}_cache_layer0" in recorded:
            assert_near(ours.transpose(1, 2), recorded[f"{kind}_cache_layer0"])


@pytest.mark.parametrize("name", STEPPED)
@torch.no_grad()
def test_decoding_keeps_the_prompts_alpha_as_the_original(case, name):
    lm, recorded, meta = case(name)
    ids = recorded["input_ids"][0].tolist()
    logits_TV = recorded["logits"][0]
    session = lm.start(ids[: meta["prefill"]])
    assert_near(session.logits, logits_TV[meta["prefill"] - 1])
    for place in range(meta["prefill"], meta["total"]):
        assert_near(session.step(ids[place]), logits_TV[place])
    assert session.alpha == meta["ntk_alpha"]
    cache = session._cache
    assert_near(cache.layer(0)[0].transpose(1, 2), recorded["key_cache_layer0"])
    assert_near(cache.layer(3)[1].transpose(1, 2), recorded["value_cache_layer3"])


@pytest.mark.parametrize("name", STEPPED)
@torch.no_grad()
def test_recomputing_where_alpha_steps_reaches_the_logits_of_one_prefill(case, name):
    """The original can't reach these: it never recomputes."""
    lm, recorded, meta = case(name)
    if lm.long_context.ntk:
        exact = LongContext(ntk=True, logn=lm.long_context.logn, recompute=True)
        lm, recorded, meta = case(name, long_context=exact)
    ids = recorded["input_ids"][0].tolist()
    one_prefill_TV = recorded["logits_if_one_prefill"][0]
    assert_near(lm.logits([ids])[0], one_prefill_TV)
    session = lm.start(ids[: meta["prefill"]])
    for place in range(meta["prefill"], meta["total"]):
        session.step(ids[place])
        if place >= lm.config.train_length:  # one prefill of all has had another α before
            assert_near(session.logits, one_prefill_TV[place])
    assert [session.alpha] == [int(alpha) for alpha in meta["ntk_alpha_of_one_prefill"]]


@torch.no_grad()
def test_rows_padded_on_the_left_are_as_if_alone_where_the_original_counts_pads(case):
    lm, recorded, meta = case("e_batch_leftpad_both")
    ids_BT, lengths = recorded["input_ids"], meta["lengths"]
    got_BTV = lm.logits(ids_BT, lengths, padding="left")
    off = []
    for row, length in enumerate(lengths):
        alone_TV = lm.logits(ids_BT[row : row + 1, -length:])[0]
        assert_near(got_BTV[row, -length:], alone_TV)
        off.append(float((recorded["logits"][row, -length:] - alone_TV).abs().max()))
        session = lm.start(ids_BT[row, -length:].tolist())
        assert session.alpha == meta["ntk_alpha"][row]
        session.step(recorded["next_ids"][row])
        if row == 0:
            assert_near(session.logits, recorded["next_logits"][0, 0])
    assert off[0] < 1e-4 < 1e-2 < min(off[1:])  # rows 1 and 2 of the original are wrong


@torch.no_grad()
def test_training_mode_ignores_both_flags(case):
    lm, recorded, _ = case("g_trainmode_L200")
    assert lm.long_context == LongContext(ntk=True, logn=True)
    lm.model.train()
    assert_near(lm.logits(recorded["input_ids"]), recorded["logits"])


@torch.no_grad()
def test_the_loss_leaves_out_ignored_labels(case):
    lm, recorded, _ = case("i_loss_L048")
    assert_near(lm.logits(recorded["input_ids"]), recorded["logits"])
    targets_BT = recorded["labels"][:, 1:]
    losses_N = sequence_losses(lm.model, recorded["input_ids"][:, :-1], targets_BT)
    counted = int((targets_BT != IGNORED).sum())
    assert 0 < counted < targets_BT.numel()
    assert float(losses_N.sum() / counted) == pytest.approx(float(recorded["loss"]), abs=1e-5)
    dense = functional.cross_entropy(recorded["logits"][0, :-1], targets_BT[0])
    assert float(dense) == pytest.approx(float(recorded["loss"]), abs=1e-5)


def test_forty_greedy_tokens_are_the_recorded_ones(case):
    lm, recorded, meta = case("k_greedy_p060_both")
    prompt = recorded["prompt_ids"][0].tolist()
    new = recorded["full_ids"][0, meta["prompt"] :].tolist()
    options = {"max_new_tokens": meta["new"], "ignore_stop_ids": True}
    assert lm.generate([prompt], **options)[0].ids == new
    session, stepped = lm.start(prompt), []
    for _ in new:
        stepped.append(int(session.logits.argmax()))
        session.step(stepped[-1])
    assert stepped == new


@torch.no_grad()
def test_bfloat16_is_as_near_as_the_originals_with_logn_kept_in_float32(case):
    """The original rounds its LogN table to bfloat16 (1.0037 becomes 1); ours does not."""
    lm, recorded, meta = case("l_bf16_prefill", dtype="bfloat16")
    exact, _, _ = case("l_bf16_prefill")
    for length in (64, 200):
        noise = meta[f"L{length}"]
        wide = exact.logits(recorded[f"input_ids_{length}"])
        difference = (lm.logits(recorded[f"input_ids_{length}"]) - wide).abs()
        assert float(difference.mean()) < 1.25 * noise["mean"]
        assert float(difference.max()) < 1.5 * noise["max_abs_diff_vs_fp32"]
        theirs = (recorded[f"logits_{length}"].float() - wide).abs()
        assert float(theirs.max()) == pytest.approx(noise["max_abs_diff_vs_fp32"], rel=0.01)
