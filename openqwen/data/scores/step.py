"""The step of model scores: every document carries them, and the models together drop some.

    step = ScoreDocuments(config)
    for outcome in step(documents): ...              # Document, or Rejected("perplexity + quality")
    step.report                                      # who was judged, who not and why

Streaming and the same for a document whatever stands around it. An object that is sent to a worker
opens its models there.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

from openqwen.core.documents import Document
from openqwen.data.scores.config import ScoresConfig
from openqwen.data.scores.policy import Policy
from openqwen.data.scores.reading import Reader
from openqwen.data.scores.scorer import (
    OpenLanguageModel,
    Scorer,
    open_scorer,
    read_card,
    rounded,
)
from openqwen.data.steps import Outcome, Rejected, batches

BATCH_DOCUMENTS = 64  # scored at once: what arrays cost by call is spread over them
BATCH_CHARS = 1_000_000
NOT_PROSE = frozenset({"code", "instructions"})


class ScoreDocuments:
    """Gives scores and applies the policy."""

    def __init__(
        self, config: ScoresConfig, open_language_model: OpenLanguageModel | None = None
    ) -> None:
        """Open all models.

        Args:
            config: models, rules, votes.
            open_language_model: how scorers of kind "model" get theirs; a function of a module,
                where the step is sent to workers.

        Raises:
            UserError: if a model can't be opened or the rules don't fit the models.
        """
        self.config, self._open = config, open_language_model
        self.scorers: list[Scorer] = [
            open_scorer(Path(path).expanduser(), open_language_model) for path in config.models
        ]
        self.policy = Policy(config, [scorer.card for scorer in self.scorers])
        self._reader = Reader()
        self.judged: Counter[str] = Counter()  # documents by language
        self.unjudged: Counter[str] = Counter()  # documents by reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as settings: arrays on disk are opened where the step arrives."""
        return type(self), (self.config, self._open)

    def __call__(self, documents: Iterable[Document]) -> Iterator[Outcome]:
        """Give each document its scores; reject those that enough models object to; in order."""
        for batch in batches(documents, BATCH_DOCUMENTS, BATCH_CHARS):
            yield from map(self._judge, self._scored(batch))

    @property
    def report(self) -> dict[str, dict[str, int]]:
        """Return documents judged by language, and those not judged by reason."""
        return {
            "judged": dict(sorted(self.judged.items())),
            "unjudged": dict(sorted(self.unjudged.items())),
        }

    def _scored(self, batch: list[Document]) -> list[Document]:
        """Return the documents with their scores."""
        scored = list(batch)
        todo = [(doc.language, place) for place, doc in enumerate(batch) if self._is_prose(doc)]
        for language, group in groupby(sorted(todo), key=lambda item: item[0]):
            names = {id(card) for card in self.policy.cards_for(language)}
            scorers = [scorer for scorer in self.scorers if id(scorer.card) in names]
            places = [place for _, place in group]
            if not scorers:
                self.unjudged[f"no model for {language or 'und'}"] += len(places)
                continue
            self._score_group(batch, scored, places, scorers, language)
        return scored

    def _score_group(
        self,
        batch: list[Document],
        scored: list[Document],
        places: list[int],
        scorers: list[Scorer],
        language: str,
    ) -> None:
        """Put documents of one language, with their scores, into `scored`."""
        readings = self._reader([batch[place].text for place in places], language)
        long_D = (readings.units.lengths_D >= self.config.min_units).tolist()
        self.judged[language or "und"] += sum(long_D)
        if not all(long_D):
            self.unjudged["too short"] += len(long_D) - sum(long_D)
        columns = {k: v for scorer in scorers for k, v in scorer.scores(readings).items()}
        for row, place in enumerate(places):
            if long_D[row]:
                new = {name: rounded(values[row]) for name, values in columns.items()}
                scored[place] = replace(scored[place], scores=scored[place].scores | new)

    def _is_prose(self, document: Document) -> bool:
        if document.group not in NOT_PROSE:
            return True
        self.unjudged[document.group] += 1
        return False

    def _judge(self, document: Document) -> Outcome:
        verdict = self.policy.judge(document.language, document.scores)
        if not verdict.is_drop:
            return document
        told = "; ".join(f"{name} {found}" for name, found in verdict.objections)
        detail = f"{told} ({verdict.votes} votes, {self.policy.min_votes} drop)"
        value = document.scores[verdict.names[0]]
        return Rejected(document, " + ".join(verdict.names), value, detail)


def check_models(config: ScoresConfig) -> None:
    """Open the models and resolve the rules, so that a mistake is told before hours of other steps.

    Raises:
        UserError: what `ScoreDocuments` would raise.
    """
    paths = [Path(model).expanduser() for model in config.models]
    cards = [read_card(path) for path in paths]
    Policy(config, cards)
    for path, card in zip(paths, cards, strict=True):
        if card.kind != "model":
            open_scorer(path)


def score_documents(config: ScoresConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Run the step once, without language models handed in."""
    return ScoreDocuments(config)(documents)
