"""One variant of ours for generation_speed.py, in a process of its own, through the public names.

    python generation_ours.py --model model.gguf --variant int4 --threads 2

Prefill is the time of `lm.start(ids)`; decoding one sequence the time of its `step`s. Several run
on the engine behind `lm.generate`, prefix sharing off; the clock starts at their first tokens.
"""

import argparse
import time
from typing import Any

import torch
from turns import serve

import openqwen
from openqwen.infer.load import LanguageModel

VARIANTS = ("bf16", "int8", "int4")


def prefill(lm: LanguageModel, prompt: list[int]) -> float:
    """Return the seconds until the logits of the last position are there."""
    start = time.perf_counter()
    lm.start(prompt)
    return time.perf_counter() - start


def decode_one(lm: LanguageModel, prompt: list[int], count: int) -> tuple[float, list[int]]:
    """Return the seconds of `count` steps, and the tokens chosen."""
    session = lm.start(prompt)
    found = []
    start = time.perf_counter()
    for _ in range(count):
        found.append(int(session.logits.argmax()))
        session.step(found[-1])
    return time.perf_counter() - start, found


def decode_many(lm: LanguageModel, prompts: list[list[int]], count: int) -> tuple[float, list[int]]:
    """Return the seconds of `count` tokens a sequence beyond its first, and one row's tokens."""
    engine = lm.engine(share_prefixes=False)
    for prompt in prompts:
        engine.add(lm.request(prompt, max_new_tokens=count + 1, ignore_stop_ids=True))
    whole = engine.stats().num_new_tokens + len(prompts) * (count + 1)
    first = whole - len(prompts) * count
    while engine.stats().num_new_tokens < first:
        engine.step()
    assert engine.stats().num_new_tokens == first, "the prompts were read in one step"
    results = []
    start = time.perf_counter()
    while engine.is_busy:
        results += [event.result for event in engine.step() if event.result]
    seconds = time.perf_counter() - start
    assert engine.stats().num_new_tokens == whole, "a sequence ended early"
    return seconds, list(results[0].ids[:count])


def weight_bytes(model: torch.nn.Module) -> int:
    """Return the bytes of all weights that a token reads: all but the rows of an embedding table.

    A table that is the output projection too is read whole.
    """
    tensors = {t.data_ptr(): t for t in [*model.parameters(), *model.buffers()]}
    table = model.embed_tokens.weight
    head = model.lm_head
    if getattr(head, "weight", None) is None or head.weight.data_ptr() != table.data_ptr():
        tensors.pop(table.data_ptr(), None)
    return sum(t.numel() * t.element_size() for t in tensors.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--variant", required=True, choices=VARIANTS)
    parser.add_argument("--threads", type=int, required=True)
    args = parser.parse_args()

    def prepare() -> tuple[dict[str, Any], Any]:
        torch.set_num_threads(args.threads)
        settings = {} if args.variant == "bf16" else {"quantize": args.variant}
        lm = openqwen.load(args.model, **settings)

        def answer(question: dict[str, Any]) -> dict[str, Any]:
            prompts, count = question["prompts"], question["new_tokens"]
            ids = None
            if not count:
                seconds = prefill(lm, prompts[0])
            elif len(prompts) == 1:
                seconds, ids = decode_one(lm, prompts[0], count)
            else:
                seconds, ids = decode_many(lm, prompts, count)
            tokens = count * len(prompts) if count else len(prompts[0])
            return {"seconds": seconds, "tokens": tokens, "ids": ids}

        about = {"openqwen": openqwen.__version__, "system": lm.describe()}
        return about | {"weight_bytes": weight_bytes(lm.model)}, answer

    serve(prepare)


if __name__ == "__main__":
    main()
