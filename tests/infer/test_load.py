import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_exports import ROWS, TRAIN_LENGTH, random_model, write

import openqwen
from openqwen.core.errors import UserError
from openqwen.infer.load import LanguageModel, load
from openqwen.infer.sampling import allowed_rows
from openqwen.model.long_context import NO_EXTENSION, LongContext


def ids_of(length, seed=0):
    return torch.randint(0, 256, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def test_the_package_offers_load_by_name(random_export):
    assert openqwen.load is load
    assert isinstance(openqwen.load(random_export, dtype="float32"), LanguageModel)


def test_logits_are_float32_over_all_rows_whatever_the_model_computes_in(random_export):
    lm = load(random_export, dtype="bfloat16")
    assert lm.model.lm_head.weight.dtype == torch.bfloat16
    logits = lm.logits([ids_of(5), ids_of(5, 1)])
    assert (logits.shape, logits.dtype) == ((2, 5, ROWS), torch.float32)
    assert lm.start(ids_of(4)).logits.shape == (ROWS,)


def test_a_session_gives_the_logits_of_one_pass(lm):
    ids = ids_of(24)
    whole = lm.logits([ids])[0]
    session = lm.start(ids[:10])
    torch.testing.assert_close(session.logits, whole[9], atol=1e-4, rtol=0)
    for place in range(10, 24):
        logits = session.step(ids[place])
        torch.testing.assert_close(logits, whole[place], atol=1e-4, rtol=0)
        assert logits is session.logits
    assert session.ids == ids


@settings(max_examples=10, deadline=None)
@given(lengths=st.lists(st.integers(1, 80), min_size=2, max_size=4), data=st.data())
def test_interleaved_sessions_do_not_touch_each_other(random_export, lengths, data):
    lm = load(random_export, dtype="float32", context=128)
    texts = [ids_of(n + 6, seed=i) for i, n in enumerate(lengths)]
    alone = []
    for ids, n in zip(texts, lengths, strict=True):
        session = lm.start(ids[:n])
        alone.append([session.logits, *(session.step(token) for token in ids[n:])])
    sessions = [lm.start(ids[:n]) for ids, n in zip(texts, lengths, strict=True)]
    mixed = [[session.logits] for session in sessions]
    order = data.draw(st.permutations([i for i in range(len(texts)) for _ in range(6)]))
    for i in order:
        mixed[i].append(sessions[i].step(texts[i][lengths[i] + len(mixed[i]) - 1]))
    for one, other in zip(alone, mixed, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_padded_rows_are_as_if_alone_at_their_own_alpha(random_export):
    lm = load(random_export, dtype="float32", context=256)
    lengths = [100, 20, 40]
    rows = [ids_of(n, seed=n) for n in lengths]
    padded = [row + [3] * (100 - len(row)) for row in rows]
    batched = lm.logits(padded, lengths)
    for row, ids in enumerate(rows):
        expected = lm.logits([ids])[0]
        torch.testing.assert_close(batched[row, : len(ids)], expected, atol=1e-4, rtol=0)


def test_rows_padded_on_the_left_are_as_if_alone_too(random_export):
    lm = load(random_export, dtype="float32", context=256)
    lengths = [100, 20, 40]
    rows = [ids_of(n, seed=n) for n in lengths]
    padded = [[3] * (100 - len(row)) + row for row in rows]
    batched = lm.logits(padded, lengths, padding="left")
    for row, ids in enumerate(rows):
        expected = lm.logits([ids])[0]
        torch.testing.assert_close(batched[row, 100 - len(ids) :], expected, atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="padding is right or left, got 'both'"):
        lm.logits(padded, lengths, padding="both")


def test_a_session_that_recomputes_always_has_the_logits_of_one_prefill(random_export):
    windows = (16, 128)
    exact = LongContext(ntk=True, logn=True, windows=windows, recompute=True)
    lm = load(random_export, dtype="float32", long_context=exact)
    plain = load(random_export, dtype="float32", long_context=replace(exact, recompute=False))
    ids = ids_of(140)
    session, fixed = lm.start(ids[:30]), plain.start(ids[:30])
    far = 0.0
    for place in range(30, 140):
        logits_V = session.step(ids[place])
        whole_V = plain.start(ids[: place + 1]).logits
        torch.testing.assert_close(logits_V, whole_V, atol=1e-4, rtol=0)
        far = max(far, float((fixed.step(ids[place]) - whole_V).abs().max()))
    assert (session.alpha, fixed.alpha) == (15, 1)
    assert session.ids == ids
    assert far > 0.1  # so the option matters


def test_context_switches_the_methods_on_beyond_the_training_length(random_export):
    assert load(random_export, context=TRAIN_LENGTH).long_context == NO_EXTENSION
    lm = load(random_export, context=128, dtype="float32")
    assert lm.long_context == LongContext(ntk=True, logn=True, windows=(16, 128))
    assert lm.start(ids_of(33)).alpha == 3
    assert lm.describe() == (
        "65,888 parameters, float32 on cpu (torch's kernels), context 128 tokens (trained on 32): "
        "dynamic NTK (α 7 at 128 tokens), LogN, windows 16 … 128"
    )
    chosen = LongContext(logn=True)
    assert load(random_export, context=128, long_context=chosen).long_context == chosen
    assert load(random_export).long_context == NO_EXTENSION


def test_sessions_in_training_mode_ignore_the_methods(random_export):
    lm = load(random_export, context=256, dtype="float32")
    plain = load(random_export, dtype="float32")
    lm.model.train()
    ids = ids_of(100)
    torch.testing.assert_close(lm.start(ids).logits, plain.start(ids).logits)
    torch.testing.assert_close(lm.logits([ids]), plain.logits([ids]))


def test_a_directory_without_a_tokenizer_loads_and_takes_ids(tmp_path):
    lm = load(write(tmp_path, random_model(), with_tokenizer=False), dtype="float32")
    assert lm.tokenizer is None
    result = lm.generate([ids_of(5)], max_new_tokens=3, ignore_stop_ids=True)[0]
    assert (len(result.ids), result.text) == (3, "")
    with pytest.raises(UserError, match="has no tokenizer; give token ids"):
        lm.generate(["text"])
    with pytest.raises(UserError, match="stop texts need a tokenizer"):
        lm.generate([ids_of(5)], stop=["x"])


def test_what_does_not_fit_together_is_refused(random_export, tmp_path):
    with pytest.raises(UserError, match="for each of 2 layers"):
        load(random_export, long_context=LongContext(windows=(8,)))
    with pytest.raises(UserError, match="at least 1 token"):
        load(random_export, context=0)
    other = write(tmp_path / "other", random_model())
    shutil.copytree(random_export, tmp_path / "mixed")
    ranks = tmp_path / "mixed" / "qwen.tiktoken"
    with ranks.open("a") as file:
        for i in range(256, 400):
            file.write(
                f"{__import__('base64').b64encode(bytes([i % 256, i // 256])).decode()} {i}\n"
            )
    (tmp_path / "mixed" / "tokenizer_config.json").unlink()
    with pytest.raises(UserError, match="the tokenizer has 608 ids, the model only 512 rows"):
        load(tmp_path / "mixed")
    assert load(other).tokenizer is not None


def test_ids_outside_the_vocabulary_are_named(lm):
    for call in (
        lambda: lm.logits([[1, 600]]),
        lambda: lm.start([1, 600]),
        lambda: lm.start([1]).step(-1),
        lambda: lm.generate([[600]]),
    ):
        with pytest.raises(ValueError, match=r"id (600|-1) is outside the vocabulary of 512 rows"):
            call()
    with pytest.raises(ValueError, match="at least one token"):
        lm.start([])


def test_generated_replies_recompute_where_alpha_steps(random_export):
    exact = LongContext(ntk=True, logn=True, recompute=True)
    lm = load(random_export, dtype="float32", long_context=exact)
    fixed = load(random_export, dtype="float32", long_context=replace(exact, recompute=False))
    prompts = [ids_of(n, seed=n) for n in (30, 60, 9)]
    options = {"max_new_tokens": 50, "ignore_stop_ids": True}
    allowed_V = allowed_rows(ROWS, lm.tokenizer)
    for prompt, result in zip(prompts, lm.generate(prompts, **options), strict=True):
        session, stepped = lm.start(prompt), []
        for _ in range(50):
            stepped.append(int(session.logits.masked_fill(~allowed_V, -torch.inf).argmax()))
            session.step(stepped[-1])
        assert result.ids == stepped
    assert fixed.generate(prompts, **options)[0].ids != lm.generate(prompts, **options)[0].ids
