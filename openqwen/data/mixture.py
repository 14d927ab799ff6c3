"""The mixture (§2.1): licences, what is held out, and how often each document is used.

    mixture = Mixture(config, seed=0)
    kept = [o for o in mixture(documents) if isinstance(o, Document)]      # with `epochs`
    mixture.report["groups"]["zh"]["share_got"]

A group's weight sets its share of the mixture's bytes, among the groups that are there. Copies
are capped, since repeating a small source for ever teaches little; what a capped group falls short
of is reported, not given to others.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, zip_longest
from typing import Any

from openqwen.core.documents import Document
from openqwen.data.config import DocumentsConfig, MixtureConfig
from openqwen.data.draw import draw
from openqwen.data.steps import Outcome, Rejected

VALIDATION = "validation"
MAX_LONG_SHARE = 0.1  # of the prose's bytes, held out for its length

_COUNTS = (
    *("documents", "bytes", "used_documents", "mixture_bytes"),
    *("validation_documents", "validation_bytes"),
)


def drop_non_commercial(
    config: MixtureConfig, non_commercial: frozenset[str], documents: Iterable[Document]
) -> Iterator[Outcome]:
    """Reject documents of non-commercial sources that the settings don't name.

    Runs before deduplication, so that no free twin falls to one that can't be used.
    """
    for document in documents:
        is_barred = (
            document.source in non_commercial
            and document.source not in config.non_commercial_sources
        )
        if is_barred:
            hint = "documents.mixture.non_commercial_sources does not name it"
            yield Rejected(document, "non-commercial", None, f"{document.licence}; {hint}")
        else:
            yield document


def hold_out(documents: list[Document], config: DocumentsConfig, *, seed: int) -> list[Document]:
    """Return the documents with those for validation marked; which ones, seed and ids decide.

    A share of each group's, at least one of two; and of the prose, some that are long enough to
    measure perplexity by length.
    """
    groups: dict[str, list[Document]] = defaultdict(list)
    for document in documents:
        groups[document.group].append(document)
    held: set[str] = set()
    if config.validation_share > 0:
        for members in groups.values():
            ids = sorted((d.id for d in members), key=lambda id: (draw(seed, VALIDATION, id), id))
            count = max(round(config.validation_share * len(ids)), 1) if len(ids) > 1 else 0
            held |= set(ids[:count])
        held |= _long_prose(groups, config)
    return [replace(d, split=VALIDATION) if d.id in held else d for d in documents]


def _long_prose(groups: dict[str, list[Document]], config: DocumentsConfig) -> set[str]:
    """Return ids of long documents, one language after the other, the shortest first.

    Together they hold at most MAX_LONG_SHARE of the prose, so that a small corpus is not all
    validation.
    """
    queues = []
    left = 0.0  # bytes
    for group, members in sorted(groups.items()):
        if group not in ("code", "instructions"):
            sized = sorted((size_of(d), d.id) for d in members)
            left += MAX_LONG_SHARE * sum(size for size, _ in sized)
            queues.append([pair for pair in sized if pair[0] >= config.long_validation_bytes])
    in_turn = (pair for row in zip_longest(*queues) for pair in row if pair is not None)
    held = set()
    for size, id in islice(in_turn, config.long_validation_documents):
        left -= size
        if left < 0:
            break
        held.add(id)
    return held


def copies_for(wanted: float, parts: dict[str, tuple[int, float]], cap: float) -> dict[str, float]:
    """Return the copies of each part so that together they give the bytes wanted, or come closest.

    Args:
        wanted: bytes of the whole.
        parts: name -> its bytes, and the factor its copies stand in to the others'.
        cap: copies at most; what a capped part can't give, the others do while they can.
    """
    copies = dict.fromkeys(parts, 0.0)
    free = {name for name, (size, factor) in parts.items() if size > 0 and factor > 0}
    while free:
        left = wanted - sum(parts[name][0] * copies[name] for name in parts.keys() - free)
        base = left / sum(parts[name][0] * parts[name][1] for name in free)
        full = {name for name in free if base * parts[name][1] > cap}
        if not full:
            return copies | {name: base * parts[name][1] for name in free}
        copies |= dict.fromkeys(full, cap)
        free -= full
    return copies


def size_of(document: Document) -> int:
    """Return a document's text in UTF-8 bytes."""
    return len(document.text.encode())


def whole_copies(
    documents: list[Document], sizes: list[int], copies: float, *, seed: int
) -> dict[str, int]:
    """Return id -> copies as whole numbers whose bytes add up to `copies` times all bytes.

    Each document gets the whole part; who gets one more is drawn by its id. What one draw gives or
    takes too much is made up for by the next ones, of its own size and then of smaller ones, so
    that few large documents can't bend a small mixture.
    """
    whole, fraction = math.floor(copies), copies - math.floor(copies)

    def large_first(pair: tuple[Document, int]) -> tuple[int, float, str]:
        document, size = pair
        return -size.bit_length(), draw(seed, "order", document.id), document.id

    owed = 0.0  # bytes
    given = {}
    for document, size in sorted(zip(documents, sizes, strict=True), key=large_first):
        owed += fraction * size
        extra = owed > draw(seed, "copy", document.id) * size
        owed -= extra * size
        given[document.id] = whole + extra
    return given


class Mixture:
    """The step; `report` then says what was asked for and what came out, by group and by source."""

    def __init__(self, config: MixtureConfig, *, seed: int) -> None:
        """Take the settings; `seed` decides who gets the odd copy."""
        self.config, self.seed = config, seed
        self.report: dict[str, Any] = {}

    def __call__(self, documents: Iterable[Document]) -> Iterator[Outcome]:
        """Give each document its copies (`epochs`); held-out ones get one, others may get none.

        A conversation without a copy stays, with 0 epochs: fine-tuning reads it, too.
        """
        documents = list(documents)
        weights = self.config.weights
        parts: dict[str, dict[str, list[Document]]] = defaultdict(lambda: defaultdict(list))
        for document in documents:
            if document.split != VALIDATION:
                parts[document.group][document.source].append(document)
        wanted, shares, given = self._share_out(parts)
        weighed: list[tuple[Document, int]] = []
        for document in documents:
            has_weight = not weights or bool(weights.get(document.group))
            if not has_weight and not document.messages:
                listed = ", ".join(weights)
                yield Rejected(document, "no weight", 0.0, f"weights are given for {listed} only")
                continue
            epochs = 1 if document.split == VALIDATION else given.get(document.id, 0)
            document = replace(document, epochs=epochs)
            weighed.append((document, size_of(document)))
            if epochs or document.messages:
                yield document
            else:
                share = shares[document.group][document.source]
                yield Rejected(document, "mixture", share, f"{share:.3f} copies of each are wanted")
        self.report = _describe(self.config, wanted, weighed)

    def _share_out(
        self, parts: dict[str, dict[str, list[Document]]]
    ) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, int]]:
        """Return bytes wanted by group, copies by group and source, and whole copies by id."""
        config = self.config
        sizes = {g: {s: [size_of(d) for d in ds] for s, ds in p.items()} for g, p in parts.items()}
        used = {
            group: sum(map(sum, by_source.values()))
            for group, by_source in sizes.items()
            if not config.weights or config.weights.get(group)
        }
        wanted = self._wanted(used)
        shares: dict[str, dict[str, float]] = {}
        given: dict[str, int] = {}
        for group in used:
            boosts = {s: (sum(n), config.source_boost.get(s, 1.0)) for s, n in sizes[group].items()}
            shares[group] = copies_for(wanted[group], boosts, config.max_epochs)
            for source, copies in shares[group].items():
                members = parts[group][source]
                given |= whole_copies(members, sizes[group][source], copies, seed=self.seed)
        return wanted, shares, given

    def _wanted(self, used: dict[str, int]) -> dict[str, float]:
        """Return the bytes each group should have in the mixture."""
        total = sum(used.values())
        target = self.config.target_bytes or total
        if self.config.weights:
            weights = {group: self.config.weights[group] for group in used if used[group]}
            all_weights = sum(weights.values())
            return {g: target * weights.get(g, 0.0) / all_weights if weights else 0.0 for g in used}
        # scaled by exactly 1 where nothing is asked, so that no document gets 0.999… copies
        scale = target / total if total else 1.0
        return {group: size * scale for group, size in used.items()}


def _describe(
    config: MixtureConfig, wanted: dict[str, float], weighed: list[tuple[Document, int]]
) -> dict[str, Any]:
    """Return the mixture as JSON: for each group and source what there was, was asked, was got."""
    groups: dict[str, dict[str, Any]] = {}
    sources: dict[str, dict[str, Any]] = {}
    for document, size in weighed:
        for table, key in ((groups, document.group), (sources, document.source)):
            row = table.setdefault(key, dict.fromkeys(_COUNTS, 0))
            if document.split == VALIDATION:
                row["validation_documents"] += 1
                row["validation_bytes"] += size
            else:
                row["documents"] += 1
                row["bytes"] += size
                row["used_documents"] += document.epochs > 0
                row["mixture_bytes"] += size * document.epochs
    for group in config.weights.keys() - groups.keys():
        groups[group] = dict.fromkeys(_COUNTS, 0)
    total = sum(row["mixture_bytes"] for row in groups.values())
    all_weights = sum(config.weights.values())
    for row in (*groups.values(), *sources.values()):
        row["epochs"] = _ratio(row["mixture_bytes"], row["bytes"])
        row["share_got"] = _ratio(row["mixture_bytes"], total)
    for group, row in groups.items():
        row["weight"] = config.weights.get(group)
        asked = config.weights.get(group, 0.0)
        row["share_asked"] = _ratio(asked, all_weights) if config.weights else None
        row["wanted_bytes"] = round(wanted.get(group, 0.0))
        row["shortfall_bytes"] = max(0, row["wanted_bytes"] - row["mixture_bytes"])
    for source, row in sources.items():
        row["boost"] = config.source_boost.get(source, 1.0)
    return {
        "mixture_bytes": total,
        "max_epochs": config.max_epochs,
        "groups": dict(sorted(groups.items())),
        "sources": dict(sorted(sources.items())),
    }


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
