"""Several adapters on one base: each row of a batch as if its own adapter were folded in."""

import pytest
import torch
from adapted_exports import make_adapter, make_base

from openqwen.core.errors import UserError
from openqwen.infer.kernels.ops import kernels_are_open
from openqwen.infer.load import load
from openqwen.model.adapters import TARGETS

PROMPT = list(range(40, 75))
SAYS = {"max_new_tokens": 8, "logprobs": True, "ignore_stop_ids": True}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    make_base(folder / "base")
    make_adapter(folder / "base", folder / "red", seed=1)
    make_adapter(folder / "base", folder / "blue", targets=("qkv", "down"), rank=5, seed=2)
    return folder


@pytest.fixture(scope="module")
def both(places):
    return load(
        places / "base",
        dtype="float32",
        adapters={"red": places / "red", "blue": places / "blue"},
    )


def answers(lm, names, **settings):
    engine = lm.engine(block_tokens=4, **settings)
    return engine.run([lm.request(PROMPT, adapter=name, **SAYS) for name in names])


def test_a_mixed_batch_is_each_adapter_folded_in(both, places):
    mixed = answers(both, [None, "red", "blue", "red", None])
    for name, result in zip([None, "red", "blue", "red", None], mixed, strict=True):
        folder = None if name is None else places / name
        alone = load(places / "base", adapter=folder, dtype="float32").generate([PROMPT], **SAYS)[0]
        assert result.ids == alone.ids
        assert result.logprobs == pytest.approx(alone.logprobs, abs=1e-4)
    assert len({tuple(result.ids) for result in mixed}) == 3


@pytest.mark.parametrize("target", TARGETS)
def test_every_matrix_gets_its_part(places, tmp_path, target):
    directory = make_adapter(places / "base", tmp_path / "one", targets=(target,), seed=4)
    together = load(places / "base", dtype="float32", adapters={"one": directory})
    folded = load(places / "base", dtype="float32", adapter=directory)
    ids_BT = torch.tensor([PROMPT, PROMPT])
    with together._adapters.rows([0, 1]):
        logits_BTV = together.logits(ids_BT)
    torch.testing.assert_close(logits_BTV[1:], folded.logits(ids_BT[1:]), atol=1e-4, rtol=0)
    plain = load(places / "base", dtype="float32").logits(ids_BT[:1])
    assert (logits_BTV[:1] - plain).abs().max() < 1e-5
    assert (logits_BTV[1:] - plain).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_rows_without_an_adapter_are_bit_for_bit_those_of_a_model_without_any(places, kind):
    if not kernels_are_open():
        pytest.skip("quantised rows are their own only in the C++ kernels")
    options = {"dtype": "float32", "quantize": kind}
    with_red = load(places / "base", adapters={"red": places / "red"}, **options)
    mixed = answers(with_red, [None, "red"])
    plain = answers(load(places / "base", **options), [None, None])
    assert mixed[0].ids == plain[0].ids
    assert mixed[0].logprobs == plain[0].logprobs
    exact = load(places / "base", adapter=places / "red", dtype="float32").generate(
        [PROMPT], **SAYS
    )
    assert mixed[1].logprobs[0] == pytest.approx(exact[0].logprobs[0], abs=0.5)
    assert mixed[1].ids != mixed[0].ids


def test_beginnings_are_not_shared_between_adapters(places):
    found = {"red": places / "red", "blue": places / "blue"}
    both = load(places / "base", dtype="float32", adapters=found)
    first = answers(both, ["red"])[0]
    engine = both.engine(block_tokens=4)
    before = engine.stats().num_shared_tokens
    assert answers(both, ["blue"])[0].ids != first.ids
    assert engine.stats().num_shared_tokens == before
    assert answers(both, ["red"])[0].ids == first.ids
    assert engine.stats().num_shared_tokens > before


def test_a_reply_that_gave_way_goes_on_with_its_adapter(both):
    calm = answers(both, ["red", "blue", None])
    engine = both.engine(block_tokens=4, kv_bytes=90_000, share_prefixes=False)
    pressed = engine.run(
        [both.request(PROMPT, adapter=name, **SAYS) for name in ("red", "blue", None)]
    )
    assert engine.stats().num_preemptions > 0
    assert [result.ids for result in pressed] == [result.ids for result in calm]


def test_generate_and_stream_take_a_name_and_unknown_ones_are_refused(both):
    assert both.adapters == ("red", "blue")
    expected = answers(both, ["red"])[0].ids
    assert both.generate([PROMPT], adapter="red", **SAYS)[0].ids == expected
    text = "".join(both.stream(PROMPT, adapter="red", **SAYS))
    assert text == both.generate([PROMPT], adapter="red", **SAYS)[0].text
    with pytest.raises(UserError, match="there is no adapter 'green'; there are: red, blue"):
        both.generate([PROMPT], adapter="green")


def test_an_adapter_costs_its_thin_matrices_and_nothing_else(both, places):
    plain = load(places / "base", dtype="float32")
    more = sum(p.numel() for p in both.model.parameters()) - sum(
        p.numel() for p in plain.model.parameters()
    )
    layer = both.model.layers[0]
    sizes = {
        "qkv": (64, 192), "out": (64, 64),
        "gate_up": (64, 2 * layer.mlp.down.base.in_features),
        "down": (layer.mlp.down.base.in_features, 64),
    }  # fmt: skip
    red = sum(3 * sum(sizes[name]) for name in TARGETS)
    blue = sum(5 * sum(sizes[name]) for name in ("qkv", "down"))
    assert more == 2 * (red + blue)


def test_what_cannot_stand_beside_others_is_refused_in_one_line(places, tmp_path):
    wide = make_adapter(places / "base", tmp_path / "wide", embeddings=True)
    with pytest.raises(UserError, match=r"brings .* of its own, which adapters on one base share"):
        load(places / "base", adapters={"wide": wide})
    with pytest.raises(UserError, match="is no adapter: it has no adapter_config"):
        load(places / "base", adapters={"base": places / "base"})
