"""What a window saves in one layer: time of a prefill and of a step, and the bytes of its cache.

    python benchmarks/window_attention.py --write-docs

One layer of the real 0.5B model's shape with random weights, bfloat16, all windows interleaved.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from results import PERFORMANCE, provenance, write_section

from openqwen.infer.fused import fuse
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder, new_decoder
from openqwen.model.kv_cache import KVCache
from openqwen.model.likelihood import CHUNK_TOKENS
from openqwen.model.long_context import LongContext

LAYER = ModelConfig(
    vocab_size=256,
    hidden_size=896,
    num_hidden_layers=1,
    num_attention_heads=14,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=4864,
    rope_theta=1e6,
    train_length=2048,
)
LENGTHS = (8192, 16_384)
WINDOWS = (1024, 2048, 4096, 8192, None)  # the schedule of a training length of 2,048, and all
STEPS = 16


@torch.no_grad()
def one_round(model: Decoder, length: int, window: int | None) -> dict[str, float]:
    """Return seconds of a prefill in chunks, seconds of a step behind it, bytes of the cache."""
    methods = LongContext(windows=None if window is None else (window,))
    ids_BT = torch.randint(0, LAYER.vocab_size, (1, length))
    cache = KVCache(model.config, prompt_lengths=[length], long_context=methods)
    started = time.perf_counter()
    for part_BT in ids_BT.split(CHUNK_TOKENS, dim=1):
        model.hidden(part_BT, cache=cache)
    prefill_s = time.perf_counter() - started
    started = time.perf_counter()
    for _ in range(STEPS):
        model.hidden(ids_BT[:, :1], cache=cache)
    step_s = (time.perf_counter() - started) / STEPS
    return {"prefill_s": prefill_s, "step_s": step_s, "bytes": float(cache.num_bytes)}


def measure(rounds: int) -> dict[tuple[int, int | None], dict[str, list[float]]]:
    """Return all samples by length and window."""
    model = new_decoder(LAYER, seed=0, dtype=torch.bfloat16).eval()
    fuse(model)
    one_round(model, LENGTHS[0], WINDOWS[0])  # warm-up
    samples: dict[Any, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for length in LENGTHS:
            for window in WINDOWS:
                found = samples.setdefault((length, window), {})
                for name, value in one_round(model, length, window).items():
                    found.setdefault(name, []).append(value)
    return samples


def section(samples: dict[Any, dict[str, list[float]]], command: str, rounds: int) -> str:
    """Return the section's Markdown."""
    heads = [f"{kind} {n:,}" for n in LENGTHS for kind in ("prefill of", "a step behind")]
    columns = ["window", *heads, f"cache at {LENGTHS[-1]:,}"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for window in WINDOWS:
        cells = [f"{window:,}" if window else "all"]
        for length in LENGTHS:
            mine, full = samples[length, window], samples[length, None]
            for name in ("prefill_s", "step_s"):
                median = statistics.median(mine[name])
                share = median / statistics.median(full[name])
                cells.append(f"{1000 * median:,.2f} ms ({share:.0%})")
        cells.append(f"{samples[LENGTHS[-1], window]['bytes'][0] / 1e6:.1f} MB")
        lines.append("| " + " | ".join(cells) + " |")
    spread = ", ".join(
        f"{1000 * value:,.0f}" for value in sorted(samples[LENGTHS[-1], None]["prefill_s"])
    )
    note = (
        f"One layer of the 0.5B model's shape (14 heads, 2 key and value heads of 64, FFN 4,864) "
        f"with random weights, bfloat16, {torch.get_num_threads()} threads; medians of {rounds} "
        f"interleaved rounds, in brackets the share of the same without a window. The rest of the "
        f"layer is in it, so the shares stop above 0. Prefill in chunks of {CHUNK_TOKENS:,}. "
        f"Samples of the slowest prefill, ms: {spread}."
    )
    return "\n".join([*lines, "", note, "", provenance(command)])


def main() -> None:
    """Measure and print, or write the docs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="samples of each, interleaved (5)")
    parser.add_argument("--write-docs", action="store_true", help="update docs/performance.md")
    args = parser.parse_args()
    body = section(
        measure(args.rounds), "python benchmarks/window_attention.py --write-docs", args.rounds
    )
    print(body)
    if args.write_docs:
        write_section(PERFORMANCE, "window_attention", "What a window saves in a layer", body)


if __name__ == "__main__":
    main()
