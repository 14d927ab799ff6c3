"""Does PPO learn what it is paid for, and what does the pretraining-gradient term do?

    python benchmarks/ppo_task.py --seeds 3 --write-docs

The task is that of `benchmarks/language_task.py`: reward 1 for a reply in the language asked for.
Each seed trains a base, an SFT model and three PPO runs: pretraining term off, on, ten times as
strong. One JSON line a run; two to three minutes a seed on two cores.
"""

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from language_task import PPO, Task, make_task, ppo_trainer, pretrain_base, text_loss, tune
from results import ROOT, provenance, write_section

from openqwen.core.intervals import mean_interval
from openqwen.core.workers import Workers
from openqwen.model.decoder import Decoder
from openqwen.report.content import LinePlot, Series
from openqwen.report.figures import render_png

PAGE = ROOT / "docs" / "ppo.md"
PLOTS = ROOT / "docs" / "plots"
COEFFICIENTS = {
    "off": 0.0,
    "on": PPO.pretraining_coefficient,
    "ten times": 10 * PPO.pretraining_coefficient,
}
LAST = 10  # iterations whose mean score counts as the end
SHOWN = "on"  # the runs that are plotted


def one_run(
    task: Task, sft: Decoder, *, seed: int, coefficient: float, workers: Workers
) -> dict[str, Any]:
    """Train once; return the curve and what it ends with."""
    config = PPO.model_copy(update={"pretraining_coefficient": coefficient})
    trainer = ppo_trainer(task, sft, seed=seed, workers=workers, config=config)
    before = trainer.evaluate()["score"]
    started = time.perf_counter()
    rows = [
        {name: float(value) for name, value in trainer.step(step).items()}
        for step in range(config.num_steps)
    ]
    return {
        "seconds": round(time.perf_counter() - started, 1),
        "scores": [row["score"] for row in rows],
        "kl": [row["kl_response"] for row in rows],
        "before": before,
        "after": trainer.evaluate()["score"],
        "end": sum(row["score"] for row in rows[-LAST:]) / LAST,
        "highest_kl": max(row["kl_response"] for row in rows),
        "last_kl": rows[-1]["kl_response"],
        "text_loss": text_loss(task, trainer.models.policy),
    }


def study(num_seeds: int) -> list[dict[str, Any]]:
    """Return one row a run."""
    task = make_task()
    rows = []
    with Workers() as workers:
        for seed in range(num_seeds):
            base = pretrain_base(task, seed=seed, workers=workers)
            sft = tune(task, base, seed=seed, workers=workers)
            losses = {"base_loss": text_loss(task, base), "sft_loss": text_loss(task, sft)}
            for name, coefficient in COEFFICIENTS.items():
                found = one_run(task, sft, seed=seed, coefficient=coefficient, workers=workers)
                rows.append({"seed": seed, "term": name} | losses | found)
                shown = {k: v for k, v in rows[-1].items() if k not in ("scores", "kl")}
                print(json.dumps(shown), flush=True)
    return rows


def interval(values: list[float], digits: int) -> str:
    """Return mean ± half-width of the 95 % interval."""
    mean, half = mean_interval(values)
    return f"{mean:.{digits}f} ± {half:.{digits}f}"


def by_term(rows: list[dict[str, Any]], term: str, key: str) -> list[float]:
    """Return one number a seed."""
    return [row[key] for row in rows if row["term"] == term]


def difference(first: list[float], second: list[float], digits: int) -> str:
    """Return the mean of first minus second, paired by seed, or that none can be seen."""
    mean, half = mean_interval([a - b for a, b in zip(first, second, strict=True)])
    text = f"{mean:+.{digits}f} ± {half:.{digits}f}"
    return text if abs(mean) > half else f"{text} (no measurable difference)"


def section(rows: list[dict[str, Any]], num_seeds: int) -> str:
    """Return the section's Markdown."""
    losses = partial(by_term, rows, "off")
    shown = [row for row in rows if row["term"] == SHOWN]
    passed = all(row["end"] > 0.95 and row["highest_kl"] < PPO.kl_bound for row in shown)
    slowest = max(row["seconds"] for row in shown)
    lines = [
        f"With the default pretraining term, {num_seeds} seeds, {PPO.num_steps} iterations of "
        f"{PPO.queries_per_step * PPO.responses_per_query} responses, at most {slowest:.0f} s a "
        f"run. Score: mean over the last {LAST} iterations; held out: "
        f"{PPO.evaluation_prompts} other questions.",
        "",
        "| seed | score of SFT, held out | score at the end | held out | highest KL | last KL |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['seed']} | {row['before']:.2f} | {row['end']:.3f} | {row['after']:.3f} | "
        f"{row['highest_kl']:.2f} | {row['last_kl']:.2f} |"
        for row in shown
    ]
    reached = "reached" if passed else "NOT reached"
    lines += [
        "",
        f"Goal, {reached} by every seed: a score above 0.95 at the end, KL (nats a response) "
        f"always below the flag's bound of {PPO.kl_bound:g}.",
        "",
        "| score | KL to the SFT model |",
        "|---|---|",
        "| ![score by iteration](plots/ppo-score.png) | ![KL by iteration](plots/ppo-kl.png) |",
        "",
        f"The pretraining-gradient term, {num_seeds} seeds, mean ± 95 % interval over seeds "
        "(Student's t; differences are paired by seed). Text loss: nats a token on held-out "
        f"pretraining text; the base has {interval(losses('base_loss'), 3)}, the SFT model "
        f"{interval(losses('sft_loss'), 3)}. PPO without the term against the SFT model: "
        f"{difference(losses('text_loss'), losses('sft_loss'), 3)}.",
        "",
        "| term | coefficient | text loss | against off | score at the end | against off |",
        "|---|---|---|---|---|---|",
    ]
    for term, coefficient in COEFFICIENTS.items():
        others = [
            ""
            if term == "off"
            else difference(by_term(rows, term, key), by_term(rows, "off", key), 3)
            for key in ("text_loss", "end")
        ]
        lines.append(
            f"| {term} | {coefficient:g} | {interval(by_term(rows, term, 'text_loss'), 3)} | "
            f"{others[0]} | {interval(by_term(rows, term, 'end'), 3)} | {others[1]} |"
        )
    command = f"python benchmarks/ppo_task.py --seeds {num_seeds} --write-docs"
    return "\n".join([*lines, "", provenance(command)])


def draw(rows: list[dict[str, Any]]) -> None:
    """Write both plots."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    shown = [row for row in rows if row["term"] == SHOWN]
    steps = list(range(1, PPO.num_steps + 1))
    warmup = (float(PPO.value_warmup_steps), "policy starts")
    for name, key, title, label in (
        ("ppo-score", "scores", "Share of replies in the language asked for", "score"),
        ("ppo-kl", "kl", "KL to the SFT model", "nats a response"),
    ):
        series = [
            Series(f"seed {row['seed']}", steps, row[key], color=row["seed"]) for row in shown
        ]
        if key == "kl":
            bound = [PPO.kl_bound] * len(steps)
            series.append(Series("bound of the flag", steps, bound, color=-1, dashed=True))
        mark = warmup if key == "scores" else None  # the bound's line would cross its words
        plot = LinePlot(name, title, "iteration", label, series, mark=mark, zero_based=True)
        (PLOTS / f"{name}.png").write_bytes(render_png(plot))


def main() -> None:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind, at least 2")
    parser.add_argument("--write-docs", action="store_true", help="update docs/ppo.md and plots")
    args = parser.parse_args()
    rows = study(args.seeds)
    body = section(rows, args.seeds)
    print(body)
    if args.write_docs:
        draw(rows)
        write_section(PAGE, "ppo-task", "A task with a known answer", body)


if __name__ == "__main__":
    main()
