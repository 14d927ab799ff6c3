"""Run directories in the form the stages leave them, with a few numbers each."""

import json
import math

from small_aligned import ALIGNED_WRITERS

from openqwen.core.config import to_plain
from openqwen.core.files import write_json
from openqwen.core.log import MetricStream
from openqwen.core.manifest import Manifest, describe_outputs
from openqwen.recipes.recipe import Recipe
from openqwen.train.config import ModelShape, PretrainConfig

STAGES = (
    *("sources", "documents", "tokenizer", "shards", "base", "longcontext"),
    *("chat", "preference", "reward", "chat-rlhf", "code", "code-chat", "math-chat"),
    "evaluation",
)
LENGTHS = (128, 256, 512, 4096)
RECIPE = Recipe(
    name="tiny",
    base=PretrainConfig(
        model=ModelShape(hidden_size=256, num_hidden_layers=6, num_attention_heads=4),
        num_steps=100,
        sequences_per_step=16,
        learning_rate=2e-3,
        warmup_steps=40,
    ),
)


def write_run(directory, *, stages=STAGES, word="plain"):
    """Write a run; `word` stands in every text that a stage could have taken from outside."""
    for stage in stages:
        counts = WRITERS[stage](directory / stage, word)
        finish(directory, stage, counts)
    return directory


def finish(directory, stage, counts):
    Manifest(
        stage=stage,
        recipe="tiny",
        recipe_hash="5f" * 32,
        inputs={},
        settings=to_plain(getattr(RECIPE, stage.replace("-", "_"))),
        outputs=describe_outputs(directory / stage),
        counts=counts,
        seconds=83.4,
        peak_memory_bytes=1_234_567_890,
        seed=17,
        versions={"openqwen": "0.1.0", "torch": "2.13.0", "python": "3.11.9"},
        host={"processor": "A Processor", "threads": 2, "system": "Linux"},
        finished_at="2026-01-02T03:04:05+00:00",
    ).write(directory / stage)


def write_sources(out, word):
    source = {
        "about": f"about {word}",
        "registry": "debian",
        "package": "manual",
        "version": "2.100",
        "sha256": "ab" * 32,
        "licence": f"GPL-2+ {word}",
        "non_commercial": True,
        "languages": ["en"],
        "files": 1204,
        "pages": 1203,
        "bytes": 3_100_000,
        "set_aside": {f"empty {word}": {"count": 41, "examples": [f"a/{word}.html"]}},
    }
    own = source | {"path": f"my/{word}", "pages": 7, "set_aside": {}}
    for key in ("registry", "package", "version", "sha256"):
        del own[key]
    benchmark = {"about": "", "package": "p", "version": "1", "licence": "MIT", "rows": 14044}
    facts = {
        "sources": {f"manual-{word}": source, "own": own},
        "benchmarks": {"mmlu": benchmark | {"sha256": "cd" * 32}},
        "left_out": {f"gone-{word}": f"no apt-get {word}"},
    }
    write_json(out / "sources.json", facts)
    return {"pages": {f"manual-{word}": 1203, "own": 7}}


def funnel_row(step, taken, kept, dropped, word, unit="documents"):
    counts = {word: {"in": taken, "out": kept}}
    row = {"step": step, "unit": unit, "in": taken, "out": kept, "dropped": dropped}
    return row | {"groups": counts, "sources": counts}


def write_documents(out, word):
    rules = {f"too short {word}": 101, "few stop words": 4}
    funnel = [
        funnel_row("extract", 1210, 1200, {"empty": 10}, word, unit="pages"),
        funnel_row("rules", 1200, 1095, rules, word),
        funnel_row("mixture", 1095, 1095, {}, word),
    ]
    write_json(out / "funnel.json", funnel)
    row = {
        "documents": 1050,
        "bytes": 2_500_000,
        "mixture_bytes": 3_100_000,
        "validation_documents": 45,
        "validation_bytes": 90_000,
        "epochs": 1.24,
        "share_got": 0.625,
    }
    asked = {"weight": 0.4, "share_asked": 0.7143, "wanted_bytes": 3_543_000}
    mixture = {
        "mixture_bytes": 4_960_000,
        "max_epochs": 4.0,
        "groups": {word: row | asked | {"shortfall_bytes": 443_000}},
        "sources": {f"manual-{word}": row | {"boost": 1.5}},
    }
    write_json(out / "mixture.json", mixture)
    overlap = {"benchmark": "mmlu", "item": "mmlu/7", "ngram": f"a b {word}"}
    overlap |= {"document_text": word, "item_text": word}
    found = {"id": f"manual/{word}", "source": word, "url": "", "num_items": 1}
    facts = {"test_items": 14208, "documents": [found | {"overlaps": [overlap, overlap]}]}
    write_json(out / "contamination.json", facts)
    (out / "audit.html").write_text("<!doctype html><title>audit</title>", encoding="utf-8")
    return {"pages": 1210, "documents": 1095}


def write_tokenizer(out, word):
    row = {
        "group": word,
        "documents": 12,
        "bytes": 40_000,
        "characters": 30_000,
        "tokens": 10_000,
        "bytes_per_token": 4.0,
        "characters_per_token": 3.0,
        "digit_share": 0.0321,
    }
    rows = [row, row | {"group": "all"}]
    write_json(out / "compression.json", {"trained_on": rows, "held_out": rows})
    return {"num_ranks": 5936, "vocab_size": 6144, "train_texts": 2345, "train_bytes": 15_990_000}


def write_shards(out, word):
    train = {"documents": 90, "tokens": 6_123_456, "sequences": 23_919}
    train["tokens_by_group"] = {"en": 6_000_000, word: 123_456}
    held_out = {"documents": 4, "tokens": 5000, "sequences": 19, "tokens_by_group": {"en": 5000}}
    splits = {"train": train, "validation": held_out}
    write_json(out / "shards.json", {"context_length": 256, "splits": splits})
    return splits


def write_base(out, word):
    stream = MetricStream(out / "metrics.jsonl")
    groups = {}
    for step in range(10, 110, 10):
        stream.write(
            {
                "kind": "train",
                "step": step,
                "tokens": step * 4096,
                "loss": 8 - step / 20,
                "learning_rate": 0.002 * min(1, step / 40),
                "gradient_norm": 1.0,
                "tokens_per_s": 9000.0 + step,
                "share_of_peak": 0.6123,
            }
        )
        if step % 50 == 0:
            measures = {"loss": 8.1 - step / 20, "bits_per_byte": 1.875, "tokens": 16_384}
            groups = {"en": measures | {"bytes": 51_234}, word: measures | {"bytes": 50_000}}
            stream.write({"kind": "validation", "step": step, "groups": groups})
    shape = {"hidden_size": 256, "num_attention_heads": 4, "num_hidden_layers": 6}
    write_json(out / "config.json", shape | {"intermediate_size": 768})
    sample = {"group": word, "prompt": f"Once {word}", "text": f" upon\n`a` {word}"}
    write_json(out / "samples.json", [sample])
    (out / "model.safetensors").write_bytes(b"0" * 1000)
    return {
        "parameters": 8_123_456,
        "non_embedding_parameters": 4_977_728,
        "tokens": 409_600,
        "context_length": 256,
        "epochs": 0.0669,
        "dtype": "bfloat16",
        "validation": groups,
        "flops_per_token": 52_000_000,
        "peak_flops_per_s": 751_000_000_000,
        "best_flops_per_s": 912_000_000_000,
        "best_shape": [4096, 256, 1536],
        "lineage_hash": "ef" * 32,
    }


def cell(length, perplexity, plain, half=0.05):
    difference = math.log(perplexity / plain)
    return {
        "length": length,
        "perplexity": perplexity,
        "low": perplexity * 0.9,
        "high": perplexity * 1.1,
        "difference_nats": difference,
        "difference_half_width": half,
        "differs": half is not None and abs(difference) > half > 0,
    }


def write_longcontext(out, word):
    plain = (41.31, 38.22, 55.43, 94.14)
    methods = {
        "no method": plain,
        f"+ dynamic NTK {word}": (41.31, 38.22, 55.99, 1234.5),
        "+ dynamic NTK + LogN + windows": (41.31, 38.22, 39.5, 40.25),
        "control: truncated context": (41.31, 38.22, 39.4, math.inf),
    }
    rows = [
        {
            "method": name,
            "is_control": name.startswith("control"),
            "cells": [
                cell(n, mine, base)
                for n, mine, base in zip(LENGTHS, perplexities, plain, strict=True)
            ],
        }
        for name, perplexities in methods.items()
    ]
    passkey = [
        {
            "method": "no method",
            "length": 256,
            "depth": depth,
            "num_trials": 4,
            "num_exact": 1,
            "digit_loss": 2.2517,
        }
        for depth in (0.1, 0.9)
    ]
    results = {
        "train_length": 256,
        "lengths": list(LENGTHS),
        "num_documents": 8,
        "tokens_a_document": 4096,
        "seed": 17,
        "rows": rows,
        "passkey": passkey,
        "passkey_chance_loss": math.log(10),
        "groups": {word: 5, "zh": 3},
        "trained_tokens": 409_600,
    }
    write_json(out / "results.json", results)
    return {"documents": 8, "lengths": list(LENGTHS)}


def change_json(path, change):
    """Rewrite a JSON file by a function on its value, and the manifest's record of it."""
    value = json.loads(path.read_text(encoding="utf-8"))
    change(value)
    write_json(path, value)
    manifest = Manifest.read(path.parent)
    finish(path.parent.parent, path.parent.name, manifest.counts)


WRITERS = ALIGNED_WRITERS | {
    "sources": write_sources,
    "documents": write_documents,
    "tokenizer": write_tokenizer,
    "shards": write_shards,
    "base": write_base,
    "longcontext": write_longcontext,
}
