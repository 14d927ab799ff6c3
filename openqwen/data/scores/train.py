"""Making scorers: from a user's texts to a directory.

card = train_perplexity(texts, "zh", out, ScorerTraining(), SetAside())
card = train_quality("quality", good, bad, ("zh",), out, ScorerTraining(), SetAside())
card = calibrate(path, texts, SetAside())            # the quantiles of other reference texts
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from openqwen.core.errors import UserError
from openqwen.core.ngrams import CHARACTER_LANGUAGES
from openqwen.data.extraction.normalise import same_key
from openqwen.data.inputs.origin import SetAside
from openqwen.data.language.identify import without_code
from openqwen.data.scores.classifier import Row, train_classifier
from openqwen.data.scores.config import Kind, ScorerTraining
from openqwen.data.scores.features import FeatureSpace
from openqwen.data.scores.kneser_ney import estimate
from openqwen.data.scores.ngram_counts import NgramCounter
from openqwen.data.scores.ngram_model import NgramModel
from openqwen.data.scores.reading import Reader
from openqwen.data.scores.scorer import (
    Card,
    OpenLanguageModel,
    PerplexityScorer,
    Scores,
    open_scorer,
    read_card,
    write_card,
    write_scorer,
)
from openqwen.data.scores.unit_batch import UnitBatch
from openqwen.data.shingles import Hashes

Item = TypeVar("Item")

PIECE_UNITS = 1000  # texts are cut into pieces, so that the reference is of a page's length
KEY_BYTES = 16
MIN_TEXTS = 20  # from which whole texts are kept apart
MIN_REFERENCE_UNITS = 20  # a shorter piece says nothing of perplexity
MIN_TRAINING_UNITS = 1000
BATCH = 64


def train_perplexity(
    texts: Iterable[str],
    language: str,
    out: Path,
    config: ScorerTraining,
    set_aside: SetAside,
    *,
    prefix: str = "",
) -> Card:
    """Train an n-gram language model; a share of the texts is kept apart as its reference.

    Args:
        texts: good text of one language.
        language: its ISO 639-1 code, which says what a unit is.
        out: directory to write.
        config: order, pruning, size.
        set_aside: gets what was not used.
        prefix: before the names of its scores, where two models judge one language.

    Raises:
        UserError: if there is too little text.
    """
    by_characters = language in CHARACTER_LANGUAGES
    order = config.character_order if by_characters else config.word_order
    counter, apart = NgramCounter(order), []
    for is_apart, piece in _pieces(texts, config, set_aside):
        if is_apart and len(piece) >= MIN_REFERENCE_UNITS:
            apart.append(piece)
        else:
            counter.add(piece)
    if counter.num_units < MIN_TRAINING_UNITS or not apart:
        unit = "characters" if by_characters else "words"
        raise UserError(
            f"{counter.num_units:,} {unit} to learn from, {len(apart)} texts kept apart: a "
            f"language model needs {MIN_TRAINING_UNITS:,} and one; give more text in --in"
        )
    min_counts = [1 if n <= 2 else config.min_count for n in range(1, order + 1)]
    levels, log_unseen = estimate(counter.finish(), min_counts)
    model = NgramModel.of(levels, log_unseen)
    card = Card(
        "perplexity",
        (language,),
        prefix,
        numbers={"log_unseen": log_unseen, "order": order, "min_counts": min_counts},
        training={"units": counter.num_units, "ngrams": model.num_ngrams},
    )
    scores: Scores = {name: [] for name in card.names}
    for start in range(0, len(apart), BATCH):
        batch = UnitBatch.of(apart[start : start + BATCH])
        for name, values in PerplexityScorer(card, model).scores_of(batch).items():
            scores[name] += values
    card = card.with_reference(scores)
    write_scorer(out, card, model.arrays())
    return card


def train_quality(
    kind: Kind,
    good: Iterable[str],
    bad: Iterable[str],
    languages: Sequence[str],
    out: Path,
    config: ScorerTraining,
    set_aside: SetAside,
    *,
    prefix: str = "",
) -> Card:
    """Train a classifier of kind "quality" or "offensive" from good and bad (offensive) samples.

    Args:
        kind: what the score is: the probability of good, or of offensive.
        good: samples of the one class.
        bad: samples of the other.
        languages: ISO 639-1 codes it will judge; the first says how the samples are cut into units
            (none: by script).
        out: directory to write.
        config: size, weight decay, folds.
        set_aside: gets samples that were not used.
        prefix: before the name of its score, where two models judge one language.

    Raises:
        UserError: if a class has fewer than two different samples.
    """
    classes = [_samples(good, config, set_aside), _samples(bad, config, set_aside)]
    for key in classes[0].keys() & classes[1].keys():
        set_aside.add("both good and bad", classes[0].pop(key)[:80])
        del classes[1][key]
    language = languages[0] if languages else ""
    reader, space = Reader(), FeatureSpace(config.num_bits)
    rows: list[list[Row]] = []
    for what, samples in zip(("good", "bad"), classes, strict=True):
        if len(samples) < 2:
            raise UserError(
                f"{len(samples)} {what} samples that can be used; a classifier needs at least 2 "
                f"different ones of each class ({set_aside.summary() or 'nothing set aside'})"
            )
        rows.append([space.row(reader([samples[key]], language)) for key in sorted(samples)])
    result = train_classifier(rows[0], rows[1], config)
    scores = result.held_out_good
    scores = [1.0 - p for p in scores] if kind == "offensive" else scores
    card = Card(
        kind,
        tuple(languages),
        prefix,
        numbers=result.classifier.numbers(),
        training=result.measures,
    )
    card = card.with_reference({card.names[0]: scores})
    write_scorer(out, card, result.classifier.arrays())
    return card


def make_language_model_scorer(
    model: Path, languages: Sequence[str], out: Path, *, prefix: str = ""
) -> Card:
    """Write a scorer of bits a byte under a model directory; `calibrate` gives it a reference."""
    card = Card("model", tuple(languages), prefix, numbers={"model": str(model.resolve())})
    write_scorer(out, card, {})
    return card


def calibrate(
    path: Path,
    texts: Iterable[str],
    set_aside: SetAside,
    open_language_model: OpenLanguageModel | None = None,
    *,
    language: str = "",
) -> Card:
    """Replace a scorer's reference by the scores of these texts, a user's own crawl say.

    Args:
        path: the scorer's directory.
        texts: reference texts.
        set_aside: gets texts too short to judge.
        open_language_model: for scorers of kind "model".
        language: of the texts, where the scorer judges several.

    Raises:
        UserError: if there is nothing to judge.
    """
    scorer = open_scorer(path, open_language_model)
    card = read_card(path)
    reader = Reader()
    scores: Scores = {name: [] for name in card.names}
    for text in texts:
        readings = reader([text], language or next(iter(card.languages), ""))
        if readings.units.lengths_D[0] < MIN_REFERENCE_UNITS:
            set_aside.add("too short", text[:80])
        else:
            for name, values in scorer.scores(readings).items():
                scores[name] += values
    if not scores[card.names[0]]:
        raise UserError(f"no text to calibrate {path} with; give some in --in")
    card = card.with_reference(scores)
    write_card(path, card)
    return card


class _Draw(Generic[Item]):
    """Keeps up to a total size of what it is offered, drawn by hash: whatever the order."""

    def __init__(self, most: int, too_many: str, set_aside: SetAside) -> None:
        self.most, self.too_many, self.set_aside = most, too_many, set_aside
        self.kept: dict[bytes, tuple[int, Item]] = {}  # by key
        self.total = 0
        self.limit = b"\xff" * KEY_BYTES

    def offer(self, key: bytes, size: int, item: Item) -> None:
        """Take an item with a key that looks random; one with a key known already is left out."""
        if key in self.kept:
            self.set_aside.add("seen before", key.hex())
        elif key > self.limit:
            self.set_aside.add(self.too_many, key.hex())
        else:
            self.kept[key] = (size, item)
            self.total += size
            if self.total > self.most:
                self._thin()

    def items(self) -> list[Item]:
        """Return what was kept, by key."""
        return [self.kept[key][1] for key in sorted(self.kept)]

    def _thin(self) -> None:
        """Leave out the items with the largest keys, a tenth more than must be."""
        total = 0
        for key in sorted(self.kept):
            total += self.kept[key][0]
            if total > 0.9 * self.most:
                self.total -= self.kept.pop(key)[0]
                self.set_aside.add(self.too_many, key.hex())
            else:
                self.limit = key


def _pieces(
    texts: Iterable[str], config: ScorerTraining, set_aside: SetAside
) -> Iterator[tuple[bool, Hashes]]:
    """Yield texts as numbers of units, cut into pieces, and whether each is kept apart.

    Whole texts are kept apart, or pieces where there are few texts.
    """
    reader = Reader()
    draw: _Draw[tuple[bytes, Hashes]] = _Draw(
        config.max_units, "pieces beyond max_units", set_aside
    )
    for text in texts:
        hashes_N = reader.hashes(without_code(text))
        owner = _key(hashes_N)
        for start in range(0, len(hashes_N), PIECE_UNITS):
            piece = hashes_N[start : start + PIECE_UNITS].copy()
            draw.offer(_key(piece), len(piece), (owner, piece))
    stride = max(2, round(1 / config.reference_share))
    owners = {owner: rank for rank, owner in enumerate(sorted({o for o, _ in draw.items()}))}
    by_text = len(owners) >= MIN_TEXTS
    for rank, (owner, piece) in enumerate(draw.items()):
        yield (owners[owner] if by_text else rank) % stride == 0, piece


def _key(hashes_N: Hashes) -> bytes:
    return hashlib.blake2b(hashes_N.tobytes(), digest_size=KEY_BYTES).digest()


def _samples(texts: Iterable[str], config: ScorerTraining, set_aside: SetAside) -> dict[bytes, str]:
    """Return texts by their key, no two alike but for form, drawn where there are too many."""
    draw: _Draw[str] = _Draw(config.max_samples, "beyond max_samples", set_aside)
    for text in texts:
        key = same_key(text)
        if key:
            draw.offer(key, 1, text)
        else:
            set_aside.add("without words", text[:80])
    return {key: draw.kept[key][1] for key in sorted(draw.kept)}


def describe(card: Card) -> dict[str, Any]:
    """Return what a person wants to know of a scorer, as name -> value."""
    facts: dict[str, Any] = {
        "kind": card.kind,
        "scores": ", ".join(card.names),
        "languages": ", ".join(card.languages) or "any",
    }
    facts |= card.training
    if card.references:
        facts["reference texts"] = card.reference_texts
    for name in card.references:
        points = (f"{share:g}: {card.quantile(name, share):.4g}" for share in (0.01, 0.5, 0.99))
        facts[f"quantiles of {name}"] = ", ".join(points)
    return facts
