"""Scorers: what gives a document a number, and their directories.

    write_scorer(out, card, arrays)
    scorer = open_scorer(path)                       # a PerplexityScorer, a ClassifierScorer …
    scorer.scores(readings)

A directory holds `scorer.json` (written last) and, but for a language model that is handed in,
`arrays.safetensors`, which stays on disk and is shared by all workers of a machine.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from openqwen.core.errors import UserError
from openqwen.core.files import read_json, sha256_file, write_json
from openqwen.data.scores.arrays import Array, open_arrays, write_arrays
from openqwen.data.scores.classifier import LinearClassifier
from openqwen.data.scores.config import Kind
from openqwen.data.scores.ngram_model import NgramModel
from openqwen.data.scores.reading import Readings, unit_fingerprint
from openqwen.data.scores.unit_batch import UnitBatch

CARD_NAME = "scorer.json"
ARRAYS_NAME = "arrays.safetensors"
FORMAT = 1
NAMES: dict[Kind, tuple[str, ...]] = {
    "perplexity": ("perplexity", "context_gain"),
    "quality": ("quality",),
    "offensive": ("offensive",),
    "model": ("bits_per_byte",),
}
# shares of the reference texts whose values are kept
SHARES = (0.0, 0.001, 0.005, *(i / 100 for i in range(1, 100)), 0.995, 0.999, 1.0)

Scores = dict[str, list[float]]  # name -> a number a text
TextScorer = Callable[[str], float]
OpenLanguageModel = Callable[[Path], TextScorer]  # from a model's directory to bits a byte of texts


@dataclass(frozen=True, slots=True)
class Card:
    """What `scorer.json` says."""

    kind: Kind
    languages: tuple[str, ...]  # ISO 639-1 codes it judges; empty: any
    prefix: str = ""  # before the names of its scores
    numbers: dict[str, Any] = field(default_factory=dict)  # the model's own
    references: dict[str, list[float]] = field(default_factory=dict)  # score -> values at SHARES
    reference_texts: int = 0
    training: dict[str, Any] = field(default_factory=dict)  # for the reader
    units: str = ""  # fingerprint of how texts are cut and numbered
    arrays_sha256: str = ""  # so that the card tells one model from another

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of its scores in a document."""
        return tuple(self.prefix + name for name in NAMES[self.kind])

    def quantile(self, name: str, share: float) -> float:
        """Return the value of a score below which this share of the reference texts lies."""
        return float(np.interp(share, SHARES, self.references[name]))

    def with_reference(self, scores: Scores) -> "Card":
        """Return the card with the scores of some texts, at least one, as its reference."""
        values = {
            name: [rounded(float(x)) for x in np.quantile(column, SHARES)]
            for name, column in scores.items()
        }
        count = len(next(iter(scores.values())))
        return replace(self, references=values, reference_texts=count)


class Scorer(Protocol):
    """Gives each text it is shown a number, or several."""

    @property
    def card(self) -> Card:
        """Return what is known of it."""

    def scores(self, readings: Readings) -> Scores:
        """Return the scores named by the card; the same for a text whatever stands beside it."""


@dataclass(frozen=True, slots=True)
class PerplexityScorer:
    """Perplexity a unit, and how many bits a unit its context saves, under an n-gram model.

    Both are comparable within their language only. The gain is that over the model's single units
    (Pauls & Klein 2012), so that rare words, which make good pages of a new field look bad, weigh
    less in it: it tells fluent text from words in a row.
    """

    card: Card
    model: NgramModel

    def scores(self, readings: Readings) -> Scores:
        """Return 2 to the mean bits a unit, and the mean gain in bits."""
        return self.scores_of(readings.units)

    def scores_of(self, batch: UnitBatch) -> Scores:
        """Return the scores of texts given as units."""
        bits, gains = self.model.bits(batch)
        perplexity, gain = self.card.names
        return {perplexity: [2.0**x for x in bits], gain: gains}


@dataclass(frozen=True, slots=True)
class ClassifierScorer:
    """The probability of what a classifier is named for: good quality, or offensive content."""

    card: Card
    classifier: LinearClassifier

    def scores(self, readings: Readings) -> Scores:
        """Return each text's probability."""
        good = self.classifier.probabilities(readings)
        is_offensive = self.card.kind == "offensive"
        return {self.card.names[0]: [1.0 - p for p in good] if is_offensive else good}


@dataclass(frozen=True, slots=True)
class LanguageModelScorer:
    """Bits a byte under a language model that the caller handed in."""

    card: Card
    score: TextScorer

    def scores(self, readings: Readings) -> Scores:
        """Return bits a byte of each text."""
        return {self.card.names[0]: [self.score(text) for text in readings.texts]}


def rounded(value: float) -> float:
    """Return a score as it is kept and compared: four digits."""
    return float(f"{value:.4g}")


def write_scorer(path: Path, card: Card, arrays: Mapping[str, Array]) -> None:
    """Write a scorer's directory, the card last."""
    path.mkdir(parents=True, exist_ok=True)
    (path / CARD_NAME).unlink(missing_ok=True)
    if arrays:
        write_arrays(path / ARRAYS_NAME, arrays)
        card = replace(card, arrays_sha256=sha256_file(path / ARRAYS_NAME))
    write_card(path, card)


def write_card(path: Path, card: Card) -> None:
    """Write or replace a scorer's card."""
    facts = asdict(card) | {"units": unit_fingerprint()}
    write_json(path / CARD_NAME, {"format": FORMAT} | facts)


def read_card(path: Path) -> Card:
    """Read a scorer's card.

    Raises:
        UserError: if there is none, or it is not of a scorer that this version can use.
    """
    if not (path / CARD_NAME).is_file():
        raise UserError(f"{path} is no scorer: it has no {CARD_NAME} (openqwen data train-scorer)")
    facts = read_json(path / CARD_NAME)
    try:
        if facts.pop("format") != FORMAT or facts["kind"] not in get_args(Kind):
            raise ValueError("unknown format or kind")
        card = Card(**facts | {"languages": tuple(facts["languages"])})
        if any(len(values) != len(SHARES) for values in card.references.values()):
            raise ValueError("a reference of another length")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path / CARD_NAME} is not a scorer's card: {error}") from None
    if card.units != unit_fingerprint():
        raise UserError(f"{path} was trained when texts were cut into other units; train it anew")
    return card


def scorer_hashes(models: Sequence[str]) -> dict[str, str]:
    """Return what changes when a scorer at one of these paths does, for a stage's inputs.

    Raises:
        UserError: if one is no scorer.
    """
    hashes = {}
    for model in models:
        path = Path(model).expanduser()
        read_card(path)
        hashes[model] = sha256_file(path / CARD_NAME)
    return hashes


def open_scorer(path: Path, open_language_model: OpenLanguageModel | None = None) -> Scorer:
    """Open a scorer's directory.

    Args:
        path: the directory.
        open_language_model: how a scorer of kind "model" gets its language model.

    Raises:
        UserError: if it can't be read, or needs a language model and none can be handed in.
    """
    card = read_card(path)
    if card.kind == "model":
        if open_language_model is None:
            raise UserError(f"{path} needs a language model, which is not handed in here")
        return LanguageModelScorer(card, open_language_model(path / str(card.numbers["model"])))
    arrays = open_arrays(path / ARRAYS_NAME)
    try:
        if card.kind == "perplexity":
            model = NgramModel.from_arrays(arrays, float(card.numbers["log_unseen"]))
            return PerplexityScorer(card, model)
        return ClassifierScorer(card, LinearClassifier.from_arrays(arrays, card.numbers))
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is not a whole scorer of kind {card.kind}: {error}") from None
