import re
import threading

import pytest
import torch

from openqwen.core.errors import UserError
from openqwen.infer import runner
from openqwen.infer.config import EngineConfig, Sampling
from openqwen.infer.engine import Engine
from openqwen.infer.fused import fuse
from openqwen.infer.kernels.build import open_kernels
from openqwen.infer.kernels.ops import bf16_kernels_are_open, kernels_are_open
from openqwen.infer.quantise import quantise
from openqwen.infer.request import Request, Vocabulary
from openqwen.infer.session import Session
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.long_context import LongContext

ROWS = 96
ALL = LongContext(ntk=True, logn=True, windows=(7, 15, 40))
METHODS = [LongContext(), ALL]
VOCABULARY = Vocabulary(None, torch.ones(ROWS, dtype=torch.bool), ())


def opinionated_model(seed=0, dtype=torch.float32):
    """Grouped queries, a training length of 16, and logits with margins."""
    config = ModelConfig(
        vocab_size=ROWS, hidden_size=96, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, intermediate_size=80, train_length=16,
    )  # fmt: skip
    model = new_decoder(config, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape, generator=generator))
    return model.to(dtype).eval()


@pytest.fixture(scope="module")
def model():
    return opinionated_model()


def ids_of(length, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, ROWS, (length,), generator=generator).tolist()


def request(prompt, *, new=12, **sampling):
    chosen = {"max_new_tokens": new, "logprobs": True, "top_logprobs": 3} | sampling
    return Request(prompt, Sampling(**chosen), VOCABULARY)


def engine(model, methods=METHODS[0], **config):
    return Engine(
        model, VOCABULARY, long_context=methods, config=EngineConfig(block_tokens=4, **config)
    )


def fused_model(kind, dtype=torch.bfloat16):
    """A model whose layers run in the C++ kernels, quantised where `kind` says so."""
    if not (bf16_kernels_are_open() if kind == "bfloat16" else kernels_are_open()):
        pytest.skip(f"no C++ kernels here: {open_kernels()[1]}")
    model = opinionated_model(dtype=dtype)
    if kind != "bfloat16":
        quantise(model, kind)
    assert fuse(model)
    return model


def assert_as_if_alone(model, result, prompt, methods, tolerance=1e-4):
    """Log-probabilities are those of a session, and so are the tokens where the margin is clear."""
    session = Session(model, prompt, methods)
    for place, token in enumerate(result.ids):
        expected = session.logits.log_softmax(-1)
        for i, logprob in [(token, result.logprobs[place]), *result.top_logprobs[place]]:
            assert logprob == pytest.approx(float(expected[i]), abs=tolerance)
        best = expected.topk(2)
        if best.values[0] - best.values[1] > 2 * tolerance:
            assert token == best.indices[0]
        session.step(token)


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
@pytest.mark.parametrize(
    "config",
    [
        {},
        {"max_num_seqs": 2},
        {"max_tokens_per_step": 7},
        {"max_tokens_per_step": 1, "max_num_seqs": 1},
        {"share_prefixes": False, "max_tokens_per_step": 11},
        {"deterministic": True, "max_num_seqs": 3},
    ],
    ids=str,
)
def test_every_reply_of_a_batch_is_the_sessions(model, methods, config):
    prompts = [ids_of(n, seed=n) for n in (1, 30, 5, 64, 17, 2, 33)]
    prompts += [[*prompts[3][:40], 1, 2], prompts[3]]
    results = engine(model, methods, **config).run([request(prompt) for prompt in prompts])
    for prompt, result in zip(prompts, results, strict=True):
        assert len(result.ids) == 12
        assert_as_if_alone(model, result, prompt, methods)


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
@pytest.mark.parametrize(
    ("kind", "dtype", "tolerance"),
    # int8: an activation between two steps may round the other way
    [("bfloat16", torch.bfloat16, 0.2), ("int8", torch.float32, 1e-2)],
    ids=["bfloat16", "int8"],
)
def test_the_kernels_read_blocks_as_they_read_a_session(kind, dtype, tolerance, methods):
    model = fused_model(kind, dtype)
    prompts = [ids_of(n, seed=n) for n in (1, 30, 5, 64, 17, 2, 33)]
    results = engine(model, methods, max_tokens_per_step=50).run(
        [request(prompt) for prompt in prompts]
    )
    for prompt, result in zip(prompts, results, strict=True):
        assert_as_if_alone(model, result, prompt, methods, tolerance)


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
def test_short_prompts_are_rows_beside_replies_and_long_ones_have_passes_of_their_own(
    methods, monkeypatch
):
    model = fused_model("int4", torch.float32)
    prompts = [ids_of(n, seed=n) for n in (9, 30, 5, 64, 17, 2, 33)]
    least = sum(len(prompt) + 11 for prompt in prompts)
    for short, is_padded in ((20, True), (512, False)):
        monkeypatch.setattr(runner, "SHORT_TOKENS", short)
        # at 90 tokens a step the first replies are under way when the last prompts come
        one = engine(model, methods, max_tokens_per_step=90, share_prefixes=False)
        results = one.run([request(prompt) for prompt in prompts])
        for prompt, result in zip(prompts, results, strict=True):
            assert_as_if_alone(model, result, prompt, methods, tolerance=2e-2)
        assert (one._runner.num_computed > least) == is_padded


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_preempted_reply_goes_on_as_if_undisturbed(model, methods, deterministic):
    prompts = [ids_of(20 + i, seed=i) for i in range(5)]
    busy = engine(
        model, methods, kv_bytes=110_000, max_num_seqs=5, max_tokens_per_step=64,
        deterministic=deterministic,
    )  # fmt: skip
    results = busy.run([request(prompt, new=30) for prompt in prompts])
    assert busy.stats().num_preemptions > 0
    for prompt, result in zip(prompts, results, strict=True):
        assert len(result.ids) == 30
        assert_as_if_alone(model, result, prompt, methods)


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
def test_32_interleaved_replies_are_32_separate_ones(model, methods):
    prompts = [ids_of(1 + 7 * i % 61, seed=i) for i in range(32)]
    requests = [request(prompt, new=5 + i % 9) for i, prompt in enumerate(prompts)]
    busy, waiting = engine(model, methods, max_tokens_per_step=40), list(requests)
    while waiting or busy.is_busy:
        for _ in range(3):
            if waiting:
                busy.add(waiting.pop(0))
        busy.step()
    for i, (prompt, one) in enumerate(zip(prompts, requests, strict=True)):
        assert len(one.ids) == 5 + i % 9
        assert_as_if_alone(model, one.result(), prompt, methods)


def test_a_shared_prefix_is_computed_once_and_changes_nothing(model):
    common, busy = ids_of(45), engine(model, ALL)
    prompts = [common + ids_of(n, seed=n) for n in (3, 9, 1)]
    for prompt in prompts:
        assert_as_if_alone(model, busy.run([request(prompt)])[0], prompt, ALL)
    stats = busy.stats()
    assert stats.num_shared_tokens == 44 + 44
    assert stats.num_prompt_tokens == sum(map(len, prompts)) - 88
    together = engine(model, ALL)
    together.run([request(prompt) for prompt in prompts])
    assert together.stats().num_shared_tokens == 44 + 44
    longer = common + ids_of(60, seed=9)  # another α: none of it may be shared
    assert_as_if_alone(model, busy.run([request(longer)])[0], longer, ALL)
    assert busy.stats().num_shared_tokens == 88


def test_a_second_turn_finds_the_first_computed(lm):
    messages = [{"role": "user", "content": "Hello there, " * 9}]
    first = lm.generate([messages], max_new_tokens=40, ignore_stop_ids=True)[0]
    before = lm.engine().stats()
    prompt = lm.encode(messages) + first.ids + lm.tokenizer.encode(" and so on")
    lm.generate([prompt], max_new_tokens=2)
    after = lm.engine().stats()
    found = after.num_shared_tokens - before.num_shared_tokens
    assert len(prompt) - 64 < found < len(prompt)
    assert after.num_prompt_tokens - before.num_prompt_tokens == len(prompt) - found


def double_in_place(model):
    model.layers[0].mlp.down.weight.mul_(2)


def replace_a_parameter(model):
    down = model.layers[0].mlp.down
    down.weight = torch.nn.Parameter(2 * down.weight)


def replace_a_layer(model):
    model.layers[0] = model.layers[1]


@pytest.mark.parametrize("change", [double_in_place, replace_a_parameter, replace_a_layer])
@torch.no_grad()
def test_other_weights_share_nothing_with_what_was_computed_before(change):
    model, prompt = opinionated_model(), ids_of(30)
    busy = engine(model)
    busy.run([request(prompt)])
    change(model)
    assert_as_if_alone(model, busy.run([request(prompt)])[0], prompt, METHODS[0])


def test_windows_bound_the_memory_of_their_layers(model):
    windowed = LongContext(windows=(8, 8, 8))
    used = []
    for methods in (LongContext(), windowed):
        busy = engine(model, methods, max_tokens_per_step=16, share_prefixes=False)
        busy.add(request(ids_of(200), new=50))
        most = 0
        while busy.is_busy:
            busy.step()
            most = max(most, busy.stats().blocks_used)
        used.append(most)
    assert used[0] >= 249 // 4
    assert used[1] <= (8 + 16) // 4 + 2


def test_recompute_starts_a_reply_again_at_each_step_of_alpha(model):
    methods, prompt = LongContext(ntk=True, logn=True, recompute=True), ids_of(12)
    result = engine(model, methods).run([request(prompt, new=60)])[0]
    assert_as_if_alone(model, result, prompt, methods)


def test_cancelling_frees_the_blocks_and_leaves_the_others(model):
    busy = engine(model, share_prefixes=False)
    requests = [request(ids_of(20, seed=i), new=10) for i in range(4)]
    numbers = [busy.add(one) for one in requests]
    busy.step()
    held = busy.stats().blocks_used
    busy.cancel(numbers[0])
    assert busy.stats().blocks_used < held
    requests[1].cancel()
    events = busy.step()
    assert numbers[0] not in {event.number for event in events}
    ended = next(event.result for event in events if event.number == numbers[1])
    assert ended.finish_reason == "cancelled"
    busy.cancel(numbers[0])
    while busy.is_busy:
        busy.step()
    assert busy.stats().blocks_used == 0
    reasons = [one.finish_reason for one in requests]
    assert reasons == ["cancelled", "cancelled", "length", "length"]
    assert_as_if_alone(model, requests[3].result(), requests[3].prompt_ids, METHODS[0])


def test_a_closed_stream_frees_its_blocks(lm):
    stream = lm.stream("abc", max_new_tokens=100, ignore_stop_ids=True, temperature=1.0)
    next(stream)
    assert lm.engine().stats().blocks_used > 0
    stream.close()
    stats = lm.engine().stats()
    assert (stats.blocks_used, stats.num_running, stats.num_waiting) == (0, 0, 0)


def test_two_streams_of_one_engine_may_be_read_in_turns(lm):
    alone = {p: "".join(lm.stream(p, max_new_tokens=30)) for p in ("abc", "hello")}
    streams = {p: lm.stream(p, max_new_tokens=30) for p in alone}
    said = dict.fromkeys(alone, "")
    while streams:
        for prompt in list(streams):
            text = next(streams[prompt], None)
            if text is None:
                del streams[prompt]
            else:
                said[prompt] += text
    assert said == alone


def test_threads_share_one_engine(lm):
    alone = [lm.generate([str(i)], max_new_tokens=20)[0] for i in range(4)]
    found = [None] * 4

    def work(i):
        found[i] = lm.generate([str(i)], max_new_tokens=20)[0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert found == alone


def test_events_tell_a_server_the_text_of_every_request(lm):
    requests = {}
    busy = lm.engine()
    for prompt in ("one", "two", "three"):
        one = lm.request(prompt, max_new_tokens=25, temperature=1.0, seed=len(requests))
        requests[busy.add(one)] = prompt
    texts, results = dict.fromkeys(requests, ""), {}
    while busy.is_busy:
        for event in busy.step():
            texts[event.number] += event.text
            if event.result is not None:
                results[event.number] = event.result
    for i, (number, prompt) in enumerate(requests.items()):
        alone = lm.generate([prompt], max_new_tokens=25, temperature=1.0, seed=i)[0]
        assert (texts[number], results[number]) == (alone.text, alone)


@torch.no_grad()
def test_a_nan_ends_its_own_reply_and_no_other():
    model = opinionated_model()
    model.embed_tokens.weight[5] = torch.nan
    good = [token for token in ids_of(40) if token != 5][:22]
    bad = [5, *good[1:]]
    busy = engine(model)
    banned = {"logit_bias": {5: -100.0}}
    results = busy.run([request(good, **banned), request(bad), request([5], new=3)])
    assert [result.finish_reason for result in results] == ["length", "error", "error"]
    assert busy.run([request([5, *good, *good, *good])])[0].finish_reason == "error"
    again = busy.run([request(good, **banned), request(good[:9] + good, **banned)])
    assert results[0].ids == again[0].ids
    assert results[0].logprobs == pytest.approx(again[0].logprobs, abs=1e-4)
    assert again[1].finish_reason == "length"
    assert busy.stats().blocks_used == 0


def test_a_pass_that_fails_ends_its_requests_and_the_engine_goes_on():
    model, prompt = opinionated_model(), ids_of(30)
    busy, one = engine(model), request(ids_of(30))
    busy.add(one)
    busy.step()

    def fail(*_):
        raise RuntimeError("no more memory")

    handle = model.norm.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="no more memory"):
        busy.step()
    handle.remove()
    assert one.finish_reason == "error"
    assert not busy.is_busy
    assert busy.stats().blocks_used == 0
    assert_as_if_alone(model, busy.run([request(prompt)])[0], prompt, METHODS[0])


def test_a_prompt_longer_than_memory_is_one_line_and_a_reply_ends_where_memory_does(model):
    small = engine(model, kv_bytes=60_000)
    line = r"the prompt has 400 tokens, KV memory of 60,000 bytes holds \d+; kv_bytes sets it"
    with pytest.raises(UserError, match=line):
        small.run([request(ids_of(5)), request(ids_of(400))])
    assert not small.is_busy
    results = small.run([request(ids_of(30), new=500), request(ids_of(8), new=3)])
    assert [result.finish_reason for result in results] == ["length", "length"]
    assert 30 < results[0].num_new_tokens < 500
    assert results[1].num_new_tokens == 3
    assert_as_if_alone(model, results[0], ids_of(30), METHODS[0])
    assert small.stats().kv_bytes <= 60_000


@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
def test_int8_keys_and_values_are_close_and_smaller(model, methods):
    prompt = ids_of(40)
    wide = engine(model, methods)
    narrow = engine(model, methods, kv_dtype="int8", max_tokens_per_step=8)
    session, gaps = Session(model, prompt, methods), []
    result = narrow.run([request(prompt, new=20, top_logprobs=ROWS)])[0]
    for token, top in zip(result.ids, result.top_logprobs, strict=True):
        expected = session.logits.log_softmax(-1)
        gaps += [abs(logprob - float(expected[i])) for i, logprob in top]
        session.step(token)
    assert 1e-5 < max(gaps) < 0.3
    assert sum(gaps) / len(gaps) < 0.05
    sizes = [one._store.groups[0].block_bytes for one in (narrow, wide)]
    assert sizes[0] / sizes[1] == (16 + 4) / (16 * 4)  # a byte an element and a scale a head


def test_the_cost_of_deterministic_mode_is_printed_and_the_kind_of_memory_named(model, capsys):
    one = engine(model, deterministic=True, max_num_seqs=5, kv_bytes=10**6)
    line = capsys.readouterr().err
    assert re.search(r"a step takes [\d.]+ ms at its 5 rows, one reply alone would take", line)
    assert one.describe() == "KV float32, up to 1.0 MB, deterministic"
    assert engine(model, kv_dtype="int8", kv_bytes=3 * 10**6).describe() == (
        "KV int8 (torch's kernels), up to 3.0 MB"
    )
    assert "deterministic" not in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "fused bfloat16", "fused int4"])
@pytest.mark.parametrize("methods", METHODS, ids=["plain", "long"])
def test_deterministic_replies_do_not_depend_on_what_else_runs(kind, methods):
    """Bits, not closeness: log-probabilities are compared exactly."""
    is_wide = kind == "float32"
    dtype = torch.float32 if is_wide else torch.bfloat16
    is_fused = kind.startswith("fused")
    model = fused_model(kind.split()[1]) if is_fused else opinionated_model(dtype=dtype)
    prompt, settings = ids_of(90, seed=1), {"new": 40, "temperature": 1.0, "seed": 3}
    quiet = engine(model, methods, deterministic=True, max_num_seqs=6)
    alone = quiet.run([request(prompt, **settings)])[0]
    for seed in range(3):
        others = [request(ids_of(5 + 30 * i, seed=seed + i), new=25) for i in range(7)]
        busy = engine(
            model, methods, deterministic=True, max_num_seqs=6, max_tokens_per_step=100,
            kv_bytes=(500_000 if is_wide else 250_000) // (seed + 1),
        )  # fmt: skip
        place = (0, 3, 6)[seed]
        requests = [*others[:place], request(prompt, **settings), *others[place:]]
        assert busy.run(requests)[place] == alone
    assert busy.stats().num_preemptions > 0
    # a second turn finds the prompt, computed in the same shapes, but not the reply
    turn = prompt + alone.ids[:39]
    fresh = engine(model, methods, deterministic=True, max_num_seqs=6)
    assert quiet.run([request(turn, **settings)]) == fresh.run([request(turn, **settings)])
    assert quiet.stats().num_shared_tokens == (0 if methods.ntk else 64)  # its α is another
