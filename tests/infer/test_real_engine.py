"""The real Qwen2.5-Coder-0.5B-Instruct on the engine, by the rule of batched against single.

In float32: log-probabilities within 1e-4, tokens equal wherever the margin is larger.
"""

import pytest
import torch

from openqwen.infer.load import load

pytestmark = pytest.mark.real
TASKS = [
    "adds two numbers", "reverses a string", "sorts pairs by the second item", "reads a CSV file",
    "counts the words of a text", "finds the primes up to n", "merges two dictionaries", "下载网页",
]  # fmt: skip
NEW = 4


@pytest.fixture(scope="module")
def lm(coder05_path):
    return load(coder05_path, dtype="float32")


def test_32_interleaved_replies_are_32_separate_ones(lm):
    prompts = [f"# {i}: a Python function that {TASKS[i % 8]}\ndef " for i in range(32)]
    asked = {"max_new_tokens": NEW, "ignore_stop_ids": True, "logprobs": True, "top_logprobs": 5}
    requests = [lm.request(prompt, **asked) for prompt in prompts]
    engine, waiting = lm.engine(max_tokens_per_step=200), list(requests)
    while waiting or engine.is_busy:
        for _ in range(5):
            if waiting:
                engine.add(waiting.pop(0))
        engine.step()
    assert engine.stats().blocks_used == 0
    for one in requests:
        result = one.result()
        assert len(result.ids) == NEW
        alone_TV = lm.logits(torch.tensor([one.prompt_ids + result.ids[:-1]]))[0]
        alone_TV = alone_TV[len(one.prompt_ids) - 1 :].log_softmax(-1)
        for place, (token, expected) in enumerate(zip(result.ids, alone_TV, strict=True)):
            for i, logprob in [(token, result.logprobs[place]), *result.top_logprobs[place]]:
                assert logprob == pytest.approx(float(expected[i]), abs=1e-4)
            best = expected.topk(2)
            if best.values[0] - best.values[1] > 2e-4:
                assert token == best.indices[0]


def test_a_second_turn_of_a_chat_computes_only_what_is_new(lm):
    messages = [{"role": "user", "content": "Write a Python function that adds two numbers."}]
    reply = lm.generate([messages], max_new_tokens=40)[0]
    before = lm.engine().stats()
    messages += [
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": "Now one that multiplies them."},
    ]
    again = lm.generate([messages], max_new_tokens=8)[0]
    after = lm.engine().stats()
    assert after.num_shared_tokens - before.num_shared_tokens == 64
    assert after.num_prompt_tokens - before.num_prompt_tokens == again.num_prompt_tokens - 64
