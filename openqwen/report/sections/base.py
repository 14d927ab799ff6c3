"""The base section: the model beside the report's, its losses, speed, and what it writes."""

import statistics
from typing import Any

from openqwen.core.log import read_metrics
from openqwen.report.content import Block, LinePlot, Row, Sample, Samples, Series, Table, Text
from openqwen.report.formatting import MISSING, compact, decimal, integer, percent, small
from openqwen.report.palette import group_places
from openqwen.report.reported import reported
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections.groups import group_name

NO_BENCHMARKS = (
    "The report's results of base models (Table 2: MMLU, C-Eval, GSM8K and others) are not shown "
    "here: this run has measured none of these benchmarks. They come with the stage evaluation."
)


def headline(stage: StageFacts) -> list[str]:
    """Return size and training."""
    counts = _counts(stage)
    return [
        f"{compact(counts['parameters'])} parameters",
        f"{compact(counts['tokens'])} tokens seen",
    ]


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return tables and plots of pretraining."""
    metrics = read_metrics(stage.directory / "metrics.jsonl")
    train = [row for row in metrics if row["kind"] == "train"]
    validations = [row for row in metrics if row["kind"] == "validation"]
    samples = [Sample(group_name(s["group"]), s["prompt"], s["text"]) for s in _samples(stage)]
    return [
        _settings_table(stage),
        _validation_table(_counts(stage)["validation"]),
        *_plots(stage, train, validations),
        *_speed(stage, train),
        Samples("Continuations that the finished model wrote", samples),
        Text(NO_BENCHMARKS, is_note=True),
    ]


def _counts(stage: StageFacts) -> dict[str, Any]:
    assert stage.manifest is not None
    return stage.manifest.counts


def _samples(stage: StageFacts) -> list[dict[str, str]]:
    samples: list[dict[str, str]] = stage.json("samples.json")
    return samples


def _tokens_per_step(stage: StageFacts) -> int:
    assert stage.manifest is not None
    return int(stage.manifest.settings["sequences_per_step"]) * int(
        _counts(stage)["context_length"]
    )


def _settings_table(stage: StageFacts) -> Table:
    """Return the model and its training beside the report's three sizes."""
    assert stage.manifest is not None
    counts, settings, shape = _counts(stage), stage.manifest.settings, stage.json("config.json")
    table1, same = reported()["table1_models"], reported()["section2_4_pretraining"]
    ours_and_formats = (
        (counts["parameters"], integer),
        (shape["hidden_size"], integer),
        (shape["num_attention_heads"], integer),
        (shape["num_hidden_layers"], integer),
        (shape["intermediate_size"], integer),
        (settings["learning_rate"], small),
        (_tokens_per_step(stage), compact),
        (counts["tokens"], compact),
    )
    rows = [
        Row((name, shown(ours), *(shown(row[place]) for row in table1["rows"].values())))
        for place, (name, (ours, shown)) in enumerate(
            zip(table1["columns"], ours_and_formats, strict=True)
        )
    ]
    per_parameter = [row[-1] / row[0] for row in table1["rows"].values()]
    rows.append(
        Row(
            (
                "tokens a parameter",
                decimal(counts["tokens"] / counts["parameters"], 2),
                *(decimal(ratio, 0) for ratio in per_parameter),
            )
        )
    )
    for name, ours, theirs in _common_settings(counts, settings, same):
        rows.append(Row((name, ours, *[theirs] * len(per_parameter))))
    return Table(
        "The model and its training beside the report's (Table 1, §2.4)",
        ("", "this run", *table1["rows"]),
        rows,
        note=f"Of this run's parameters {integer(counts['non_embedding_parameters'])} lie outside "
        "the embedding and the output projection. * from the published Qwen-7B memo, which has "
        "ε 1e-6, and not in the report.",
    )


def _common_settings(
    counts: dict[str, Any], settings: dict[str, Any], same: dict[str, Any]
) -> list[tuple[str, str, str]]:
    """Return name, ours, theirs of what the report sets alike for all sizes."""
    share = "final share of the peak learning rate"
    return [
        ("passes over the data", decimal(counts["epochs"], 2), MISSING),
        (
            "context length (tokens)",
            integer(counts["context_length"]),
            integer(same["context length"]),
        ),
        ("steps", integer(settings["num_steps"]), MISSING),
        ("warm-up steps*", integer(settings["warmup_steps"]), integer(same["warm-up steps*"])),
        (
            "schedule",
            f"cosine to {percent(settings['final_learning_rate_share'], 0)}",
            f"cosine to {percent(same[share], 0)}",
        ),
        (
            "AdamW β₁, β₂",
            f"{small(settings['beta1'])}, {small(settings['beta2'])}",
            f"{small(same['AdamW beta1'])}, {small(same['AdamW beta2'])}",
        ),
        ("AdamW ε", small(settings["epsilon"]), small(same["AdamW epsilon"])),
        ("weight decay*", small(settings["weight_decay"]), small(same["weight decay*"])),
        ("gradient clipping*", small(settings["clip_norm"]), small(same["gradient clipping*"])),
        ("compute type", counts["dtype"], "bfloat16, mixed"),
    ]


def _validation_table(validation: dict[str, dict[str, float]]) -> Table:
    rows = [
        Row(
            (
                group_name(group),
                decimal(m["bits_per_byte"], 3),
                decimal(m["loss"], 3),
                integer(m["tokens"]),
                integer(m["bytes"]),
            )
        )
        for group, m in validation.items()
    ]
    return Table(
        "Held-out documents after the last step",
        ("group", "bits/byte", "loss (nats/token)", "tokens", "bytes"),
        rows,
        note="Bits a byte say how many bits the model needs for each byte of text that it has not "
        "seen: lower is better, 8 is no compression. Unlike the loss a token, they compare across "
        "vocabularies.",
    )


def _plots(
    stage: StageFacts, train: list[dict[str, Any]], validations: list[dict[str, Any]]
) -> list[Block]:
    """Return loss, bits a byte, learning rate and speed over the tokens seen."""
    tokens = [row["tokens"] for row in train]

    def of_train(key: str, label: str, color: int = 0, faint: bool = False) -> Series:
        return Series(label, tokens, [row[key] for row in train], color, is_faint=faint)

    def of_groups(key: str) -> list[Series]:
        seen = [row["step"] * _tokens_per_step(stage) for row in validations]
        places = group_places(sorted({g for row in validations for g in row["groups"]}))
        return [
            Series(
                group_name(group),
                [at for at, row in zip(seen, validations, strict=True) if group in row["groups"]],
                [row["groups"][group][key] for row in validations if group in row["groups"]],
                place,
                has_markers=True,
            )
            for group, place in places.items()
        ]

    axis = "tokens seen in training"
    return [
        LinePlot(
            "loss",
            "Loss in training and on held-out documents",
            axis,
            "loss (nats/token)",
            [of_train("loss", "training", -1, faint=True), *of_groups("loss")],
        ),
        LinePlot(
            "bits-per-byte",
            "Bits a byte on held-out documents",
            axis,
            "bits/byte",
            of_groups("bits_per_byte"),
        ),
        LinePlot(
            "learning-rate",
            "Learning rate",
            axis,
            "learning rate",
            [of_train("learning_rate", "learning rate")],
            zero_based=True,
        ),
        LinePlot(
            "speed",
            "Training speed",
            axis,
            "tokens/s",
            [of_train("tokens_per_s", "tokens/s")],
            zero_based=True,
        ),
    ]


def _speed(stage: StageFacts, train: list[dict[str, Any]]) -> list[Block]:
    """Return speed beside the machine's measured ceiling."""
    counts = _counts(stage)
    rates = [row["tokens_per_s"] for row in train]
    shares = [row["share_of_peak"] for row in train]
    rows, inner, outer = counts["best_shape"]
    cells = [
        ("tokens/s, median (lowest – highest)", integer(statistics.median(rates))),
        ("share of the measured peak, median", percent(statistics.median(shares), 0)),
        ("measured peak", f"{decimal(counts['peak_flops_per_s'] / 1e12, 3)} TFLOP/s"),
        (
            f"fastest single product ({integer(rows)} × {integer(inner)} × {integer(outer)})",
            f"{decimal(counts['best_flops_per_s'] / 1e12, 3)} TFLOP/s",
        ),
        ("training FLOPs a token", compact(counts["flops_per_token"])),
    ]
    cells[0] = (cells[0][0], f"{cells[0][1]} ({integer(min(rates))} – {integer(max(rates))})")
    return [
        Table(
            "Training speed",
            ("", "this run"),
            [Row(row) for row in cells],
            note="The peak is the time-weighted rate of the model's own matrix products, forward "
            "and backward at their own shapes, measured on this machine in this run. 100 % would "
            "mean that nothing but these products takes time. Validations and checkpoints are not "
            "part of the rate.",
        )
    ]
