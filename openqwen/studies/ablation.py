"""Quality control by effect: what a data step is worth to a model trained on what it leaves.

    report = ablate({"all steps": a, "without rules": b}, recipe, out, seeds=2)
    report["groups"]["en"]["without rules"]["difference"]      # bits a byte; above 0 the step helps

The same tiny model, tokenizer and number of tokens for every variant; each is scored on the same
held-out documents, those that the first variant holds out. No variant trains on one of them, nor on
what the first one found to be a copy of one.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from openqwen.core.config import to_identity
from openqwen.core.documents import (
    Document,
    count_rows,
    read_documents,
    read_drops,
    write_documents,
)
from openqwen.core.errors import UserError
from openqwen.core.files import empty_directory, read_json, sha256_text, write_json
from openqwen.core.log import say
from openqwen.data.training.shards import build_shards
from openqwen.infer.load import load
from openqwen.model.likelihood import IGNORED, sequence_losses
from openqwen.recipes.recipe import Recipe
from openqwen.studies.intervals import Difference, paired_difference
from openqwen.tokenizer.compression import texts_of
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import train_tokenizer
from openqwen.train.pretrain import pretrain

VALIDATION = "validation"
DOCUMENTS = "documents"
BATCH = 16  # windows scored at once
_SURVIVOR = re.compile(r"(?:to|as|of) (\S.*)$")  # how a drop's detail ends that names one


@dataclass(frozen=True)
class HeldOut:
    """The documents every variant is scored on, and what none may train on."""

    documents: list[Document]
    barred: frozenset[str]

    @property
    def ids(self) -> frozenset[str]:
        """Return the ids of the documents themselves."""
        return frozenset(document.id for document in self.documents)


def ablate(
    variants: Mapping[str, Path], recipe: Recipe, out: Path, *, seeds: int
) -> dict[str, Any]:
    """Train a model on each variant of a corpus and compare them on held-out documents.

    Args:
        variants: name -> documents stage; the first is what the others are compared with.
        recipe: its tokenizer, shards and base sections say what is trained; its seed is the first.
        out: directory for everything that is made; what an earlier attempt finished is used.
        seeds: models trained of each variant.

    Returns:
        The comparison by group and by source: bits a byte of each variant, differences with 95 %
        intervals, documents and seeds; also written to `ablation.json`.

    Raises:
        UserError: if nothing is held out, or a variant has too little text for one sequence.
    """
    reference = next(iter(variants))
    held = find_held_out(variants[reference])
    if not held.documents:
        raise UserError(
            f"{variants[reference]} holds out no document; set documents.validation_share above 0"
        )
    say(f"{'ablate':<14}{len(held.documents):,} documents are held out of every variant")
    tokenizer = out / "tokenizer"
    with_reference = {"of": str(variants[reference]), "settings": to_identity(recipe.tokenizer)}
    if not _is_done(tokenizer, with_reference):
        corpus = variants[reference] / DOCUMENTS
        train_tokenizer(recipe.tokenizer, corpus, tokenizer, keep=lambda d: d.split != VALIDATION)
        _finish(tokenizer, with_reference)
    bits: dict[str, NDArray[np.float64]] = {}
    facts: dict[str, dict[str, Any]] = {}
    for name, stage in variants.items():
        folder = out / re.sub(r"\W+", "-", name)
        facts[name] = _prepare(stage, held, folder, tokenizer, recipe)
        rows = [
            _bits_of_model(_train(folder, tokenizer, recipe, recipe.seed + n), held, recipe)
            for n in range(seeds)
        ]
        bits[name] = np.stack(rows)
    sizes_N = np.array([_num_bytes(document) for document in held.documents])
    report = {
        "reference": reference,
        "seeds": [recipe.seed + n for n in range(seeds)],
        "num_steps": recipe.base.num_steps,
        "variants": facts,
        "groups": _compare(bits, sizes_N, [d.group for d in held.documents]),
        "sources": _compare(bits, sizes_N, [d.source for d in held.documents]),
    }
    write_json(out / "ablation.json", report)
    return report


def find_held_out(stage: Path) -> HeldOut:
    """Return a documents stage's validation documents, and the ids of their dropped copies."""
    documents = [d for d in read_documents(stage / DOCUMENTS) if d.split == VALIDATION]
    ids = {document.id for document in documents}
    copies = set()
    for drop in read_drops(stage / "drops"):
        if drop.step in ("url", "exact", "minhash"):
            named = _SURVIVOR.search(drop.detail)
            if named and named[1] in ids:
                copies.add(drop.id)
    return HeldOut(documents, frozenset(ids | copies))


def _prepare(
    stage: Path, held: HeldOut, folder: Path, tokenizer: Path, recipe: Recipe
) -> dict[str, Any]:
    """Write a variant's training documents and shards; return how much it is."""
    asked: dict[str, Any] = {"of": str(stage), "held": sha256_text(repr(sorted(held.barred)))}
    asked |= {"shards": to_identity(recipe.shards)}
    if not _is_done(folder, asked):
        empty_directory(folder)
        write_documents(folder / DOCUMENTS / "00000.parquet", _aligned(stage, held))
        empty_directory(folder / "shards")
        build_shards(recipe.shards, folder, tokenizer, folder / "shards", seed=recipe.seed)
        _finish(folder, asked)
    counts = read_json(folder / "shards" / "shards.json")["splits"]["train"]
    return {"documents": count_rows(folder / DOCUMENTS), "tokens": counts["tokens"]}


def _aligned(stage: Path, held: HeldOut) -> Iterator[Document]:
    """Yield a variant's documents, all for training but those that are held out."""
    for document in read_documents(stage / DOCUMENTS):
        if document.id in held.ids:
            yield replace(document, split=VALIDATION)
        elif document.id not in held.barred and document.split != VALIDATION:
            yield document


def _train(folder: Path, tokenizer: Path, recipe: Recipe, seed: int) -> Path:
    """Pretrain one model of a variant; return its directory."""
    model = folder / f"base-{seed}"
    asked = {"settings": to_identity(recipe.base), "seed": seed}
    if not _is_done(model, asked):
        say(f"{'ablate':<14}{folder.name}, seed {seed}")
        pretrain(recipe.base, folder / "shards", tokenizer, model, seed=seed, lineage_hash="")
        _finish(model, asked)
    return model


def _bits_of_model(model: Path, held: HeldOut, recipe: Recipe) -> NDArray[np.float64]:
    """Return the bits that a model needs for each held-out document."""
    lm = load(model)
    assert lm.tokenizer is not None, "an export has its tokenizer"
    length = recipe.shards.context_length
    return np.array([_bits(lm.model, lm.tokenizer, d, length) for d in held.documents])


def _bits(model: Any, tokenizer: Tokenizer, document: Document, length: int) -> float:
    """Return the bits of a document's text, cut into windows of the training length."""
    text = "\n".join(texts_of(document))
    ids = [tokenizer.eos_id, *tokenizer.encode(text)]
    count = -(-(len(ids) - 1) // length)
    inputs = torch.full((count * length,), tokenizer.eos_id)
    targets = torch.full((count * length,), IGNORED)
    inputs[: len(ids) - 1] = torch.tensor(ids[:-1])
    targets[: len(ids) - 1] = torch.tensor(ids[1:])
    total = 0.0
    for start in range(0, count, BATCH):
        rows = slice(start * length, min(start + BATCH, count) * length)
        inputs_BT, targets_BT = inputs[rows].view(-1, length), targets[rows].view(-1, length)
        total += float(sequence_losses(model, inputs_BT, targets_BT).double().sum())
    return total / float(np.log(2))


def _compare(
    bits: dict[str, NDArray[np.float64]], sizes_N: NDArray[np.int64], names: list[str]
) -> dict[str, dict[str, Any]]:
    """Return for each name and for all: bits a byte of each variant, difference to the first."""
    reference, *others = bits
    rows: dict[str, dict[str, Any]] = {}
    for name in [*sorted(set(names)), "all"]:
        chosen_N = np.array([name in ("all", own) for own in names])
        size = sizes_N[chosen_N]
        row: dict[str, Any] = {"documents": int(chosen_N.sum()), "bytes": int(size.sum())}
        row[reference] = {"bits_per_byte": _mean(bits[reference][:, chosen_N], size)}
        for other in others:
            of_other = bits[other][:, chosen_N]
            found: Difference = paired_difference(bits[reference][:, chosen_N], of_other, size)
            row[other] = {"bits_per_byte": _mean(of_other, size)} | found.as_json()
        rows[name] = row
    return rows


def _mean(bits_SN: NDArray[np.float64], size_N: NDArray[np.int64]) -> float:
    return round(float(bits_SN.mean(axis=0).sum() / size_N.sum()), 4)


def _num_bytes(document: Document) -> int:
    return len("\n".join(texts_of(document)).encode("utf-8", "replace"))


def _is_done(folder: Path, asked: dict[str, Any]) -> bool:
    return (folder / "done.json").is_file() and read_json(folder / "done.json") == asked


def _finish(folder: Path, asked: dict[str, Any]) -> None:
    write_json(folder / "done.json", asked)
