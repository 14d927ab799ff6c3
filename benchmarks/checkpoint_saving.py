"""What saving a checkpoint takes from the training loop: at once, and beside the next steps.

    python benchmarks/checkpoint_saving.py --rounds 5 --write-docs

A model of 384 × 6 layers (vocabulary 32,768) trains on random tokens in bfloat16. Three ways take
turns: no checkpoint, one written at once, one written beside the steps that follow. Reported is the
time that the whole takes beyond the way without, and the time that the call itself holds the loop.
"""

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from results import ROOT, provenance, write_section

from openqwen.core.workers import Workers
from openqwen.model.config import count_parameters, qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.train.checkpoint_config import CheckpointsConfig
from openqwen.train.config import PretrainConfig
from openqwen.train.disk import state_bytes
from openqwen.train.engine import open_optimiser
from openqwen.train.saving import Saver
from openqwen.train.step import next_token_step

PAGE = ROOT / "docs" / "exactness.md"
SHAPE = qwen_config(
    hidden_size=384, num_attention_heads=6, num_hidden_layers=6, vocab_size=32768, train_length=1024
)
WAYS = ("none", "at once", "beside")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="taken after the checkpoint")
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    model = new_decoder(SHAPE, seed=0).train()
    optimiser = open_optimiser(model, PretrainConfig(), compute_dtype=torch.bfloat16)
    tokens_BT = torch.randint(SHAPE.vocab_size, (4, 1025))
    samples: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with Workers() as workers:

        def train(steps: int) -> None:
            for _ in range(steps):
                next_token_step(
                    model,
                    optimiser,
                    tokens_BT[:, :-1],
                    tokens_BT[:, 1:],
                    micro_sequences=2,
                    learning_rate=1e-4,
                    workers=workers,
                )

        train(2)
        size = state_bytes(optimiser.state())
        for number in range(args.rounds):
            for way in WAYS:
                folder = Path(tempfile.mkdtemp(prefix="saving-"))
                policy = CheckpointsConfig(asynchronous=way == "beside")
                saver = Saver(folder, policy, keep=2, label="benchmark")
                started = time.perf_counter()
                if way != "none":
                    saver.save(number, optimiser.state(), {})
                train(args.steps)
                saver.wait()
                samples[way].append((time.perf_counter() - started, saver.seconds))
                shutil.rmtree(folder)
                row = {"way": way, "whole_s": samples[way][-1][0], "held_s": saver.seconds}
                print(json.dumps(row), flush=True)
    body = table(samples, size, args)
    print(body)
    if args.write_docs:
        write_section(PAGE, "checkpoint_saving", "What saving takes from the loop", body)


def table(
    samples: dict[str, list[tuple[float, float]]], size: int, args: argparse.Namespace
) -> str:
    """Return the section: medians over rounds, differences taken round by round."""
    lines = [
        f"A state of {size / 1e6:,.0f} MB ({count_parameters(SHAPE) / 1e6:.1f} M parameters), "
        f"followed by {args.steps} steps; {args.rounds} rounds, medians (lowest – highest).",
        "",
        "| checkpoint | the call holds the loop | whole time beyond no checkpoint |",
        "|---|---|---|",
    ]
    for way in WAYS[1:]:
        held = [held for _, held in samples[way]]
        extra = [w - n for (w, _), (n, _) in zip(samples[way], samples["none"], strict=True)]
        cells = [
            f"{statistics.median(v):.2f} s ({min(v):.2f} – {max(v):.2f})" for v in (held, extra)
        ]
        lines.append(f"| {way} | {cells[0]} | {cells[1]} |")
    call = f"python benchmarks/checkpoint_saving.py --rounds {args.rounds} --steps {args.steps}"
    return "\n".join([*lines, "", provenance(call)])


if __name__ == "__main__":
    main()
