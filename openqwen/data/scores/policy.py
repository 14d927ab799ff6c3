"""Several models together decide (§2.1): each may object, and enough votes drop a document.

    policy = Policy(config, cards)
    verdict = policy.judge("zh", {"perplexity": 5000.0, "quality": 0.1})
    verdict.names, verdict.is_drop                   # ("perplexity", "quality"), True

Limits are numbers when the step starts: quantiles are looked up in a model's reference texts, never
in the documents at hand, so that a document's fate doesn't depend on its neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from openqwen.core.errors import UserError
from openqwen.data.scores.config import DEFAULT_RULES, ScoreRule, ScoresConfig
from openqwen.data.scores.scorer import Card


@dataclass(frozen=True, slots=True)
class Limits:
    """A rule in plain numbers."""

    above: float | None
    below: float | None
    votes: int

    @classmethod
    def of(cls, rule: ScoreRule, card: Card, name: str, key: str) -> "Limits":
        """Look up a rule's quantiles in a model's reference of the score `name`.

        Raises:
            UserError: if the model has no reference.
        """
        shares = (rule.above_quantile, rule.below_quantile)
        if name not in card.references and any(share is not None for share in shares):
            raise UserError(
                f"scores.rules.{key} names a quantile, but the model has no reference texts "
                "(openqwen data calibrate-scorer)"
            )
        above = rule.above if shares[0] is None else card.quantile(name, shares[0])
        below = rule.below if shares[1] is None else card.quantile(name, shares[1])
        return cls(above, below, rule.votes)

    def objection(self, value: float) -> str:
        """Return what speaks against a value, or ""."""
        if self.above is not None and value > self.above:
            return f"{value:.4g} above {self.above:.4g}"
        if self.below is not None and value < self.below:
            return f"{value:.4g} below {self.below:.4g}"
        return ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who objected to a document."""

    objections: tuple[tuple[str, str], ...]  # (score, what speaks against its value)
    votes: int
    is_drop: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the scores that object, sorted."""
        return tuple(name for name, _ in self.objections)


class Policy:
    """The rules of all models, by language."""

    def __init__(self, config: ScoresConfig, cards: Sequence[Card]) -> None:
        """Resolve the rules.

        Args:
            config: rules and how many votes drop.
            cards: of all models; no two of one name judge one language.

        Raises:
            UserError: if two models clash, a rule belongs to no model, or no language has models
                enough for a drop.
        """
        self.min_votes = config.min_votes
        self._config, self._cards = config, cards
        self._limits: dict[tuple[str, str], Limits | None] = {}
        names = {name for card in cards for name in card.names}
        for key in config.rules:
            if key.split("/")[0] not in names and key not in DEFAULT_RULES:
                raise UserError(f"scores.rules names {key}, but no model gives that score")
        languages = sorted({code for card in cards for code in card.languages} | {""})
        most = max((self._possible_votes(code) for code in languages), default=0)
        if cards and most < self.min_votes:
            raise UserError(
                f"scores.min_votes is {self.min_votes}, but the models can give {most}: nothing "
                "could be dropped; lower it, or add models or rules"
            )

    def judge(self, language: str, scores: Mapping[str, float]) -> Verdict:
        """Return the verdict on a document from its scores, which may hold others' too."""
        objections, votes = [], 0
        for card in self.cards_for(language):
            most = 0  # two scores of one model are one voice
            for name in card.names:
                limits, value = self._limits_for(card, name, language), scores.get(name)
                found = limits.objection(value) if limits and value is not None else ""
                if limits and found:
                    objections.append((name, found))
                    most = max(most, limits.votes)
            votes += most
        return Verdict(tuple(sorted(objections)), votes, votes >= self.min_votes)

    def cards_for(self, language: str) -> list[Card]:
        """Return the models that judge a language.

        Raises:
            UserError: if two of them give a score of one name.
        """
        found = [card for card in self._cards if not card.languages or language in card.languages]
        names = [name for card in found for name in card.names]
        for name in names:
            if names.count(name) > 1:
                raise UserError(
                    f"scores.models holds two models that give {name} for {language or 'und'}; "
                    "train one with a --prefix"
                )
        return found

    def _possible_votes(self, language: str) -> int:
        total = 0
        for card in self.cards_for(language):
            limits = [self._limits_for(card, name, language) for name in card.names]
            total += max((limit.votes for limit in limits if limit), default=0)
        return total

    def _limits_for(self, card: Card, name: str, language: str) -> Limits | None:
        place = (name, language)
        if place not in self._limits:
            key = f"{name}/{language}"
            key = key if key in self._config.rules else name
            rule = self._config.rules.get(key)
            counts = rule is not None and rule.votes > 0
            self._limits[place] = Limits.of(rule, card, name, key) if rule and counts else None
        return self._limits[place]
