"""How far a step spread over ranks is from the same step on one process, layout by layout.

    python benchmarks/parallel_exactness.py [--write-docs]

Losses, gradients and updated weights of one optimiser step of a small grouped-query model, in
float32 and in bfloat16, on gloo ranks of this machine. No timing: two processors say nothing of it.
"""

import argparse
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from results import ROOT, provenance, write_section
from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

from openqwen.core.log import say
from openqwen.core.workers import Workers
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import Decoder, new_decoder
from openqwen.model.likelihood import IGNORED
from openqwen.parallel.config import ParallelConfig
from openqwen.parallel.mesh import open_mesh
from openqwen.parallel.unpack import unpack_projections
from openqwen.train.config import PretrainConfig
from openqwen.train.optimiser import MasterAdamW
from openqwen.train.sharded import ShardedAdamW
from openqwen.train.step import next_token_loss

TITLE = "Measured against one process"
PAGE = ROOT / "docs" / "parallel.md"
SHAPE = ModelConfig(
    vocab_size=512,
    hidden_size=128,
    num_hidden_layers=4,
    num_attention_heads=8,
    num_key_value_heads=4,
    head_dim=16,
    intermediate_size=384,
    train_length=128,
)
ROWS, WIDTH, SEED = 4, 128, 1
LEARNING_RATE = 1e-3
TYPES = (torch.float32, torch.bfloat16)
LAYOUTS: list[tuple[str, int, dict[str, Any]]] = [
    ("recompute", 1, {"recompute": "layer"}),
    ("tensor 2", 2, {"tensor": 2}),
    ("tensor 4", 4, {"tensor": 4}),
    ("context 2, gather", 2, {"context": 2}),
    ("context 2, ring", 2, {"context": 2, "context_exchange": "ring"}),
    ("context 4, gather", 4, {"context": 4}),
    ("context 4, ring", 4, {"context": 4, "context_exchange": "ring"}),
    ("tensor 2 × context 2", 4, {"tensor": 2, "context": 2}),
    ("shard 2", 2, {"shard": 2}),
    ("shard 2 × tensor 2", 4, {"shard": 2, "tensor": 2}),
    ("shard 2 × context 2", 4, {"shard": 2, "context": 2}),
    ("replicate 2 × shard 2", 4, {"replicate": 2, "shard": 2}),
    ("compile", 1, {"compile": True}),
]


def step(model: Decoder, optimiser: Any) -> dict[str, Tensor]:
    """Take one step of two micro-batches; return loss, gradients and weights, whole."""
    ids_BT = torch.randint(
        SHAPE.vocab_size, (ROWS, WIDTH + 1), generator=torch.Generator().manual_seed(SEED)
    )
    targets_BT = ids_BT[:, 1:].clone()
    targets_BT[0, :20] = IGNORED  # micro-batches of unequal counts
    num_valid = (targets_BT != IGNORED).sum()

    def loss_of(start: int) -> tuple[Tensor, Tensor]:
        rows = slice(start, start + ROWS // 2)
        nll = next_token_loss(model, ids_BT[rows, :-1], targets_BT[rows])
        return nll / num_valid, nll.detach()

    with Workers(1) as workers:
        parts = optimiser.add_gradients(loss_of, [0, ROWS // 2], workers)
        found = {"loss": torch.stack(list(parts)).sum() / num_valid}
        if isinstance(optimiser, MasterAdamW):  # keeps its sums to itself: once more, by hand
            sums = [torch.zeros_like(p, dtype=torch.float32) for p in model.parameters()]
            for start in (0, ROWS // 2):
                for total, part in zip(
                    sums, torch.autograd.grad(loss_of(start)[0], optimiser.parameters), strict=True
                ):
                    total += part
        else:
            sums = [p.grad for p in model.parameters()]
        names = [name for name, _ in model.named_parameters()]
        found |= {f"gradient {n}": whole(g) for n, g in zip(names, sums, strict=True)}
        optimiser.step(LEARNING_RATE, workers)
    if isinstance(optimiser, MasterAdamW):
        masters = [optimiser.state()[f"master.{name}"] for name in names]
    else:
        masters = list(model.parameters())
    return found | {f"weight {n}": whole(w) for n, w in zip(names, masters, strict=True)}


def whole(tensor: Tensor) -> Tensor:
    """Return a copy of a tensor, gathered if it is spread."""
    full = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return full.detach().float().clone()


def alone(dtype: torch.dtype) -> dict[str, Tensor]:
    """Return one process's step."""
    model = new_decoder(SHAPE, seed=SEED)
    unpack_projections(model)
    return step(model, MasterAdamW(model, config({}), compute_dtype=dtype))


def spread(sizes: dict[str, Any], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return the same step, made parallel."""
    model = new_decoder(SHAPE, seed=SEED)
    mesh = open_mesh(config(sizes).parallel, torch.device("cpu"))
    return step(model, ShardedAdamW(model, config(sizes), mesh, compute_dtype=dtype))


def config(sizes: dict[str, Any]) -> PretrainConfig:
    # a large epsilon: with 1e-8 Adam turns rounding of near-zero gradients into whole steps
    return PretrainConfig(num_steps=10, epsilon=1e-3, parallel=ParallelConfig(**sizes))


def rank_main(rank: int, count: int, sizes: dict[str, Any], to: str) -> None:
    """Be one rank; rank 0 saves what it found."""
    torch.set_num_threads(1)
    meeting = f"file://{to}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=count)
    found = [spread(sizes, dtype) for dtype in TYPES]
    if rank == 0:
        torch.save(found, Path(to) / "found")
    distributed.barrier()
    distributed.destroy_process_group()


def on_ranks(count: int, sizes: dict[str, Any]) -> list[dict[str, Tensor]]:
    """Return what rank 0 of `count` processes finds, for each of `TYPES`."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        ranks = [
            context.Process(target=rank_main, args=(r, count, sizes, folder), daemon=True)
            for r in range(count)
        ]
        for process in ranks:
            process.start()
        for process in ranks:
            process.join(300)
            if process.exitcode != 0:
                raise SystemExit(f"{sizes}: a rank ended with {process.exitcode}")
        found: list[dict[str, Tensor]] = torch.load(Path(folder) / "found", weights_only=True)
    return found


def differences(found: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    """Return the table's cells: loss and gradients relative, weights in parts of a full step."""
    cells = [f"{abs(float(found['loss'] / expected['loss']) - 1):.1e}"]
    for kind, scale in (("gradient", None), ("weight", LEARNING_RATE)):
        names = [name for name in expected if name.startswith(kind)]
        largest = scale or max(float(expected[n].abs().max()) for n in names)
        difference = max(float((found[n] - expected[n]).abs().max()) for n in names)
        cells.append(f"{difference / largest:.1e}")
    if all(torch.equal(found[name], expected[name]) for name in expected):
        return ["equal to the bit"] * len(cells)
    return cells


def table(layouts: list[tuple[str, int, dict[str, Any]]]) -> Iterator[str]:
    """Measure layout after layout; yield the table so far after each."""
    expected = [alone(dtype) for dtype in TYPES]
    noise = differences(expected[1], expected[0])
    lines = [
        "| layout | ranks | float32: loss | gradients | weights | bfloat16: loss | gradients "
        "| weights |",
        "|---|---|---|---|---|---|---|---|",
        f"| one process, bfloat16 beside float32 | 1 | – | – | – | {' | '.join(noise)} |",
    ]
    for name, count, sizes in layouts:
        cells = [str(count)]
        for found, right in zip(on_ranks(count, sizes), expected, strict=True):
            cells += differences(found, right)
        lines.append(f"| {name} | {' | '.join(cells)} |")
        say(lines[-1])
        yield "\n".join(lines)


def section(rows: str) -> str:
    """Return the docs section around the table."""
    return (
        f"One optimiser step (AdamW, learning rate {LEARNING_RATE}) of a grouped-query model "
        f"(hidden {SHAPE.hidden_size}, {SHAPE.num_hidden_layers} layers, "
        f"{SHAPE.num_attention_heads} heads on {SHAPE.num_key_value_heads}, vocabulary "
        f"{SHAPE.vocab_size}), {ROWS} sequences of {WIDTH} in two micro-batches, seed {SEED}, "
        "against the same step on one process. Loss: relative. Gradients: largest difference of "
        "any element, by the largest gradient. Weights after the step: largest difference, by the "
        "learning rate (a whole step of Adam is 1).\n\n"
        f"{rows}\n\n{provenance('python benchmarks/parallel_exactness.py --write-docs')}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--write-docs", action="store_true", help="write into docs/parallel.md")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for rows in table(LAYOUTS):  # written as it grows: a run that is cut leaves what it measured
        if args.write_docs:
            write_section(PAGE, "parallel_exactness", TITLE, section(rows))


if __name__ == "__main__":
    main()
