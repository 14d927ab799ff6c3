import math

import pytest
import torch
from torch.nn import functional

from openqwen.core.errors import UserError
from openqwen.eval.config import LongContextConfig
from openqwen.eval.long_context_table import format_table, measure_long_context
from openqwen.eval.passkey import NUM_DIGITS, passkey_measure
from openqwen.eval.perplexity import Method, document_losses, table3_methods
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.long_context import NO_EXTENSION, LongContext, window_schedule
from openqwen.tokenizer.control import control_tokens
from openqwen.tokenizer.tokenizer import Tokenizer

T = 16


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer({bytes([b]): b for b in range(256)}, controls=control_tokens(256))


@pytest.fixture(scope="module")
def model(tokenizer):
    shape = qwen_config(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=3, vocab_size=512, train_length=T
    )
    model = new_decoder(shape, seed=0).eval()
    with torch.no_grad():  # larger weights, so that attention and its methods matter
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model


def text(tokens, seed=0):
    return torch.randint(256, (tokens + 1,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [8, 16, 32, 64])
def test_every_length_scores_every_token_but_the_first_once(model, length):
    ids = text(64)
    expected = 0.0
    for start in range(0, 64, length):
        chunk = ids[start : start + length][None]
        logits = model(chunk)[0]
        expected += float(
            functional.cross_entropy(
                logits, ids[start + 1 : start + length + 1], reduction="sum"
            ).detach()
        )
    found = document_losses(model, ids, length, Method("none"), stride=2)
    assert found == pytest.approx(expected, rel=1e-5)


def test_methods_do_nothing_up_to_the_training_length_and_something_beyond(model):
    ids = text(64)
    methods = table3_methods(model.config)
    at = {n: [document_losses(model, ids, n, m, stride=2) for m in methods] for n in (16, 64)}
    assert len(set(at[16])) == 1
    assert len(set(at[64])) == len(methods)


def test_the_rows_are_table_3_each_method_alone_and_two_controls(model):
    methods = {m.name: m for m in table3_methods(model.config)}
    assert list(methods)[:4] == [
        "no method",
        "+ dynamic NTK",
        "+ dynamic NTK + LogN",
        "+ dynamic NTK + LogN + windows",
    ]
    windows = window_schedule(3, T)
    assert methods["windows alone"].long_context == LongContext(windows=windows)
    assert methods["control: uniform window"].long_context.windows == (T, T, T)
    assert sum(m.is_control for m in methods.values()) == 2


@pytest.mark.parametrize("stride", [1, 4, 16])
def test_the_truncated_control_shows_each_token_only_the_last_ones(model, stride):
    ids = text(64)
    method = Method("truncated", truncated=True)
    expected = 0.0
    for end in range(1, 65):
        # the window that scores token `end` starts at a multiple of the stride
        start = 0 if end <= T else -(-(end - T) // stride) * stride
        logits = model(ids[None, start:end])[0, -1]
        expected += float(functional.cross_entropy(logits, ids[end]).detach())
    found = document_losses(model, ids, 64, method, stride=stride)
    assert found == pytest.approx(expected, rel=1e-5)


def measured(model, tokenizer, tmp_path, documents, **settings):
    config = LongContextConfig(num_documents=3, passkey_trials=1, **settings)
    return measure_long_context(
        model, tokenizer, documents, config, seed=3, kept=tmp_path / "kept.jsonl"
    )


def test_a_stopped_measurement_goes_on_with_equal_results(model, tokenizer, tmp_path):
    documents = [text(300, seed) for seed in range(4)]
    settings = {"length_multiples": (0.5, 1, 4, 16)}
    whole = measured(model, tokenizer, tmp_path, documents, **settings)
    kept = tmp_path / "kept.jsonl"
    lines = kept.read_text().splitlines(keepends=True)
    kept.write_text("".join(lines[:7]) + lines[7][:20])  # as a kill in the middle of a write
    assert measured(model, tokenizer, tmp_path, documents, **settings) == whole
    assert len(kept.read_text().splitlines()) == len(lines)


def test_rows_tell_n_interval_and_the_paired_difference(model, tokenizer, tmp_path):
    documents = [text(300, seed) for seed in range(3)]
    results = measured(model, tokenizer, tmp_path, documents, length_multiples=(1, 4))
    assert results["num_documents"] == 3
    assert results["lengths"] == [16, 64]
    rows = {row["method"]: row["cells"] for row in results["rows"]}
    plain, ntk = rows["no method"][1], rows["+ dynamic NTK"][1]
    assert plain["difference_nats"] == 0
    assert not plain["differs"]
    assert plain["low"] < plain["perplexity"] < plain["high"]
    ratio = math.log(ntk["perplexity"] / plain["perplexity"])
    assert ntk["difference_nats"] == pytest.approx(ratio, abs=1e-9)
    lines = format_table(results)
    assert lines[0].split() == ["perplexity", "at", "length", "16", "64"]
    assert "n = 3 documents of 64 tokens, seed 3" in lines[-1]


def test_lengths_stop_where_the_documents_do(model, tokenizer, tmp_path, capsys):
    results = measured(
        model, tokenizer, tmp_path, [text(70)], length_multiples=(1, 2, 4, 8), passkey_depths=()
    )
    assert results["lengths"] == [16, 32, 64]
    assert "no held-out document of 128 tokens (the longest has 70)" in capsys.readouterr().out
    with pytest.raises(UserError, match="the longest held-out document has 5 tokens"):
        measured(model, tokenizer, tmp_path / "b", [text(5)])


def test_the_passkey_stands_at_its_depth_and_its_digits_are_scored(model, tokenizer):
    seen = []
    plain_hidden = model.hidden
    try:
        model.hidden = lambda ids, **kw: seen.append((ids, kw)) or plain_hidden(ids, **kw)
        exact, loss = passkey_measure(
            model,
            tokenizer,
            tokenizer.encode("grass is green " * 30),
            length=256,
            depth=0.5,
            num_trials=2,
            long_context=NO_EXTENSION,
            seed=1,
        )
    finally:
        del model.hidden
    ids = seen[0][0]
    assert ids.shape == (2, 255)  # the last digit is only a target
    texts = [tokenizer.decode(row.tolist()) for row in ids]
    assert texts[0] != texts[1]
    key = texts[0].split("The pass key is ")[1][:NUM_DIGITS]
    assert key.isdigit()
    assert texts[0].endswith(f"The pass key is {key[:-1]}")
    assert 0.3 < texts[0].index("Remember") / len(texts[0]) < 0.7
    assert 0 <= exact <= 2
    assert loss > 0
