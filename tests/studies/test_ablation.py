import json
import random

import numpy as np
import pytest

from openqwen.cli.main import main
from openqwen.core.documents import Document, Drop, DropWriter, write_documents
from openqwen.core.errors import UserError
from openqwen.data.training.config import ShardsConfig
from openqwen.recipes.recipe import Recipe
from openqwen.studies.ablation import ablate, find_held_out
from openqwen.studies.intervals import paired_difference
from openqwen.tokenizer.config import TokenizerConfig
from openqwen.train.config import ModelShape, PretrainConfig

WORDS = ["tide", "moon", "harbour", "water", "keeper", "post", "table", "wind", "coast", "hour"]


def document(number, split="train", noise=False):
    draw = random.Random(number)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(draw.choices(letters, k=5)) for _ in range(60)] if noise else []
    text = " ".join(words or draw.choices(WORDS, k=60))
    source = "noise" if noise else "books"
    id = f"{source}/{number}"
    return Document(id, source, "", "CC0-1.0", "text/plain", text, language="en", split=split)


def stage(folder, documents, drops=()):
    write_documents(folder / "documents" / "00000.parquet", documents)
    with DropWriter(folder / "drops" / "00000.parquet") as writer:
        for drop in drops:
            writer.add(drop)
    return folder


RECIPE = Recipe(
    name="test",
    tokenizer=TokenizerConfig(num_ranks=300),
    shards=ShardsConfig(context_length=32),
    base=PretrainConfig(
        model=ModelShape(hidden_size=32, num_hidden_layers=1, num_attention_heads=2),
        num_steps=30,
        sequences_per_step=8,
        micro_sequences=8,
        learning_rate=1e-2,
        warmup_steps=1,
        evaluate_every_steps=30,
        checkpoint_every_steps=30,
        dtype="float32",
    ),
)


def test_a_difference_is_that_of_all_bits_over_all_bytes():
    first = np.array([[8.0, 20.0]])
    other = np.array([[16.0, 32.0]])
    found = paired_difference(first, other, np.array([4, 8]))
    assert found.value == pytest.approx(20 / 12)
    assert found.low == pytest.approx(1.5)
    assert found.high == pytest.approx(2.0)
    assert found.is_measurable


def test_no_difference_is_not_measurable_and_seeds_widen_the_interval():
    draw = np.random.default_rng(0)
    sizes = np.full(200, 100)
    base = draw.normal(300, 10, (1, 200))
    one_seed = paired_difference(base, base + draw.normal(0, 1, (1, 200)), sizes)
    assert not one_seed.is_measurable
    shifts = np.array([[-5.0], [5.0]])
    two_seeds = paired_difference(base + shifts, base + 0.5 + shifts, sizes)
    assert not two_seeds.is_measurable
    assert two_seeds.high - two_seeds.low > 10 * (one_seed.high - one_seed.low)


def test_copies_of_a_held_out_document_are_held_back_too(tmp_path):
    drops = [
        Drop(
            "books/8",
            "books",
            "en",
            "minhash",
            "near duplicate",
            0.9,
            "Jaccard 0.9 to books/7",
            "t",
        ),
        Drop(
            "books/9",
            "books",
            "en",
            "minhash",
            "near duplicate",
            0.9,
            "Jaccard 0.9 to books/1",
            "t",
        ),
        Drop("books/10", "books", "en", "rules", "short", 1.0, "as books/7", "t"),
    ]
    held = find_held_out(stage(tmp_path, [document(1), document(7, "validation")], drops))
    assert [d.id for d in held.documents] == ["books/7"]
    assert held.barred == {"books/7", "books/8"}


def test_a_step_that_keeps_noise_out_is_seen_to_help(tmp_path, capsys):
    good = [document(n, "validation" if n % 5 == 0 else "train") for n in range(60)]
    noise = [document(n, noise=True) for n in range(300)]
    variants = {
        "all steps": stage(tmp_path / "a", good),
        "without rules": stage(tmp_path / "b", [*good, *noise]),
    }
    report = ablate(variants, RECIPE, tmp_path / "out", seeds=1)
    assert report["variants"]["all steps"]["documents"] == 60
    assert report["variants"]["without rules"]["documents"] == 360
    row = report["groups"]["en"]
    assert row["documents"] == 12
    assert row["without rules"]["difference"] > 0
    assert row["without rules"]["measurable"]
    assert report["sources"].keys() == {"books", "all"}
    capsys.readouterr()
    assert ablate(variants, RECIPE, tmp_path / "out", seeds=1) == report
    assert "steps" not in capsys.readouterr().out, "a finished model was trained again"
    assert json.loads((tmp_path / "out" / "ablation.json").read_text()) == report


def test_nothing_held_out_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"holds out no document; set documents\.validation_share"):
        ablate({"all steps": stage(tmp_path, [document(1)])}, RECIPE, tmp_path / "out", seeds=1)


def test_the_verb_refuses_what_it_cannot_do(tmp_path, capsys):
    out = str(tmp_path / "out")
    assert main(["data", "ablate", "--without", "rules", "--seeds", "0", "--out", out]) == 2
    assert "--seeds 0: at least one model" in capsys.readouterr().err
    command = ["data", "ablate", "--in", str(tmp_path), "--without", "magic", "--out", out]
    assert main(command) == 2
    assert "documents.skip" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
