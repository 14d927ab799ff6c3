import math

import pytest
import torch
from torch.nn import functional

from openqwen.core.errors import UserError
from openqwen.eval.config import LongContextConfig
from openqwen.eval.long_context_table import (
    format_grid,
    format_table,
    measure_long_context,
    usual_lengths,
)
from openqwen.eval.passkey import NUM_DIGITS, passkey_measure
from openqwen.eval.perplexity import Method, document_losses, table3_methods
from openqwen.eval.work import Watch, pass_flops
from openqwen.model import likelihood
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
    methods = table3_methods(model.config, LongContextConfig())
    at = {n: [document_losses(model, ids, n, m, stride=2) for m in methods] for n in (16, 64)}
    assert len(set(at[16])) == 1
    assert len(set(at[64])) == len(methods)


def test_the_rows_are_table_3_each_method_alone_and_two_controls(model):
    methods = {m.name: m for m in table3_methods(model.config, LongContextConfig())}
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


def test_a_text_longer_than_a_pass_goes_through_a_cache_with_equal_losses(model, monkeypatch):
    ids = text(96)
    methods = table3_methods(model.config, LongContextConfig())
    whole = [document_losses(model, ids, 96, m, stride=4) for m in methods]
    monkeypatch.setattr(likelihood, "PASS_TOKENS", 40)
    monkeypatch.setattr(likelihood, "CHUNK_TOKENS", 20)
    monkeypatch.setattr("openqwen.eval.perplexity.PASS_TOKENS", 40)
    chunked = [document_losses(model, ids, 96, m, stride=4) for m in methods]
    assert chunked == pytest.approx(whole, rel=1e-5)


def test_settings_choose_the_rows_and_the_windows(model):
    config = LongContextConfig(methods=("logn", "ntk+logn+windows"), window_shares=(0.25, 2))
    methods = table3_methods(model.config, config)
    names = ["no method", "+ dynamic NTK + LogN + windows", "LogN alone"]  # the table's own order
    assert [method.name for method in methods] == names
    assert methods[1].long_context.windows == (4, 11, 32)
    for settings, message in (
        ({"methods": ("yarn",)}, "methods holds 'yarn'; there are ntk, "),
        ({"window_shares": (2, 1)}, "window_shares must grow"),
        ({"passkey_multiples": (0,)}, "passkey_multiples must be above 0"),
    ):
        with pytest.raises(ValueError, match=message):
            LongContextConfig(**settings)


def test_lengths_that_do_not_divide_the_longest_are_named_and_left_out(
    model, tokenizer, tmp_path, capsys
):
    results = measured(
        model, tokenizer, tmp_path, [text(70)], length_multiples=(1, 3, 4), passkey_depths=()
    )
    assert results["lengths"] == [16, 64]
    assert "48 doesn't divide 64, so it is left out" in capsys.readouterr().out


def test_within_the_training_length_passkeys_are_the_models_own_and_measured_once(
    model, tokenizer, tmp_path, monkeypatch
):
    long = model.config.model_copy(update={"train_length": 256})
    monkeypatch.setattr(model, "config", long)
    settings = {"length_multiples": (0.25, 1), "passkey_multiples": (0.5, 1, 2)}
    results = measured(model, tokenizer, tmp_path, [text(600)], **settings)
    rows = {(r["method"], r["length"], r["depth"]): r["digit_loss"] for r in results["passkey"]}
    assert len(rows) == 2 * 3 * 3
    fullest = "+ dynamic NTK + LogN + windows"
    for depth in (0.1, 0.5, 0.9):
        assert rows["no method", 256, depth] == rows[fullest, 256, depth]
        assert rows["no method", 512, depth] != rows[fullest, 512, depth]
    kept = (tmp_path / "kept.jsonl").read_text()
    assert kept.count("passkey no method 256") == 3
    assert "passkey + dynamic NTK + LogN + windows 256" not in kept
    lines = format_table(results)
    assert [line.split("  ")[0] for line in lines[1:3]] == [
        "no method",
        "up to 256 tokens, its training length, no method is in force",
    ]
    assert len(format_grid(results)) == 1 + 6
    assert format_grid(results)[0].split()[-3:] == ["10%", "50%", "90%"]


def test_the_work_is_told_before_and_what_is_kept_is_not_counted_again(
    model, tokenizer, tmp_path, capsys
):
    documents = [text(300, seed) for seed in range(3)]
    measured(model, tokenizer, tmp_path, documents, length_multiples=(1, 4))
    first = capsys.readouterr().out
    assert "8 rows at 2 lengths on 3 documents of 64 tokens, 0 passkey cells of 1" in first
    assert "kept from before" not in first
    measured(model, tokenizer, tmp_path, documents, length_multiples=(1, 4))
    assert "100% kept from before" in capsys.readouterr().out


def test_operations_of_a_pass_are_products_counted_one_by_one(model):
    shape = model.config  # 3 layers, 2 heads of 16
    none = pass_flops(shape, tokens=64, windows=None, scored=0)
    assert pass_flops(shape, tokens=64, windows=None, scored=10) - none == 2 * 512 * 32 * 10
    narrow = pass_flops(shape, tokens=64, windows=(16, 16, 64), scored=0)
    # a query in a window of 16 multiplies and adds 16 keys and values a head, the first ones fewer
    wide, short = 64 * 64 / 2, 16 * 16 / 2 + 48 * 16
    assert none - narrow == 4 * 32 * 2 * (wide - short)


def test_a_wait_is_told_by_the_first_piece(capsys, monkeypatch):
    watch = Watch("longcontext", total=100e9, done=20e9)
    monkeypatch.setattr(type(watch._progress), "seconds", 5.0)
    watch.advance(20e9, "no method at 64")
    watch.advance(20e9, "no method at 128")
    said = capsys.readouterr().out
    assert said.count("about 0:15 to go, by the first piece") == 1  # 60 left at 4 a second


def test_usual_lengths_are_those_of_the_table():
    assert usual_lengths(2048) == [1024, 2048, 4096, 8192, 16_384]
    assert usual_lengths(256) == [128, 256, 512, 1024, 2048, 4096]
    assert usual_lengths(32_768) == [1024, 2048, 4096, 8192, 16_384]
    assert usual_lengths(8192) == [4096, 8192, 16_384]
