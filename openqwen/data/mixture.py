"""The mixture (§2.1): licences, what is held out, and how often each document is used.

    plan = plan_mixture(Weighed.of(documents, seed=0), config, seed=0)
    kept = [o for o in apply_plan(documents, plan, config) if isinstance(o, Document)]
    plan.report["groups"]["zh"]["share_got"]

A group's weight sets its share of the mixture's bytes, among the groups that are there. Copies
are capped, since repeating a small source for ever teaches little; what a capped group falls short
of is reported, not given to others. Planning looks at sizes and draws only, never at a text.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openqwen.core.documents import Document
from openqwen.core.files import atomic_path
from openqwen.data.config import DocumentsConfig, MixtureConfig
from openqwen.data.steps import Outcome, Rejected
from openqwen.data.weighed import DRAWS, VALIDATION, Integers, Weighed

MAX_LONG_SHARE = 0.1  # of the prose's bytes, held out for its length
NOT_PROSE = ("code", "instructions")


def drop_non_commercial(
    config: MixtureConfig, non_commercial: frozenset[str], documents: Iterable[Document]
) -> Iterator[Outcome]:
    """Reject documents with a non-commercial licence unless the settings name their source.

    Runs before deduplication, so that no free twin falls to one that can't be used.
    """
    for document in documents:
        barred = document.source in non_commercial or "-NC" in document.licence.upper()
        if barred and document.source not in config.non_commercial_sources:
            hint = "documents.mixture.non_commercial_sources does not name it"
            yield Rejected(document, "non-commercial", None, f"{document.licence}; {hint}")
        else:
            yield document


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of N documents.

    Attributes:
        held_N: (N,) whether a document is held out for validation.
        epochs_N: (N,) int64 copies in the mixture.
        copies_N: (N,) float64, the copies wanted of each of its source.
        has_weight_N: (N,) whether its group is part of the mixture.
        report: mixture.json.
    """

    held_N: NDArray[np.bool_]
    epochs_N: Integers
    copies_N: NDArray[np.float64]
    has_weight_N: NDArray[np.bool_]
    report: dict[str, Any] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> "Plan":
        """Return the plan of some of the documents, without the report."""
        cut = slice(start, stop)
        return Plan(
            self.held_N[cut], self.epochs_N[cut], self.copies_N[cut], self.has_weight_N[cut]
        )

    def save(self, path: Path) -> None:
        """Write a file that `load` reads; the report is not in it."""
        arrays = {name: getattr(self, name) for name in self.__slots__ if name != "report"}
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{name: file[name] for name in file.files})


def plan_mixture(weighed: Weighed, config: DocumentsConfig) -> Plan:
    """Decide which documents are held out and how often each of the others is used.

    Args:
        weighed: all documents.
        config: weights, caps, boosts, validation.
    """
    mixture = config.mixture
    held_N = hold_out(weighed, config)
    has_weight_N = np.ones(len(weighed), dtype=np.bool_)
    if mixture.weights:
        with_weight = [bool(mixture.weights.get(group)) for group in weighed.groups]
        has_weight_N = np.array(with_weight, dtype=np.bool_)[weighed.group_N]
    copies_N = np.zeros(len(weighed))
    epochs_N = np.zeros(len(weighed), dtype=np.int64)
    in_group_N = [(weighed.group_N == g) & ~held_N for g in range(len(weighed.groups))]
    used = {
        name: int(weighed.size_N[in_group_N[place]].sum())
        for place, name in enumerate(weighed.groups)
        if not mixture.weights or mixture.weights.get(name)
    }
    wanted = _wanted(used, mixture)
    for place, group in enumerate(weighed.groups):
        if group not in used:
            continue
        members = {
            source: np.flatnonzero(in_group_N[place] & (weighed.source_N == number))
            for number, source in enumerate(weighed.sources)
        }
        sizes = {s: int(weighed.size_N[m].sum()) for s, m in members.items() if len(m)}
        for source, copies in _copies_of_sources(wanted[group], sizes, mixture).items():
            copies_N[members[source]] = copies
            epochs_N[members[source]] = whole_copies(weighed, members[source], copies)
    epochs_N[held_N] = 1
    plan = Plan(held_N, epochs_N, copies_N, has_weight_N)
    plan.report.update(_describe(mixture, wanted, weighed, plan))
    return plan


def apply_plan(
    documents: Iterable[Document], plan: Plan, config: MixtureConfig
) -> Iterator[Outcome]:
    """Give each document its split and copies (`epochs`); reject those the mixture has no use for.

    A conversation without a copy stays, with 0 epochs: fine-tuning reads it, too.
    """
    rows = zip(
        documents,
        plan.held_N.tolist(),
        plan.epochs_N.tolist(),
        plan.copies_N.tolist(),
        plan.has_weight_N.tolist(),
        strict=True,
    )
    for document, held, epochs, copies, has_weight in rows:
        if not has_weight and not document.messages:
            listed = ", ".join(config.weights)
            yield Rejected(document, "no weight", 0.0, f"weights are given for {listed} only")
        elif not epochs and not document.messages:
            yield Rejected(document, "mixture", copies, f"{copies:.3f} copies of each are wanted")
        else:
            yield replace(document, epochs=epochs, split=VALIDATION if held else "train")


def hold_out(weighed: Weighed, config: DocumentsConfig) -> NDArray[np.bool_]:
    """Return (N,) which documents are held out for validation; seed and ids decide.

    A share of each group's, at least one of two; and of the prose, some that are long enough to
    measure perplexity by length.
    """
    held_N = np.zeros(len(weighed), dtype=np.bool_)
    if config.validation_share > 0:
        draws_N = weighed.draws_3N[DRAWS.index(VALIDATION)]
        for group in range(len(weighed.groups)):
            members = np.flatnonzero(weighed.group_N == group)
            share = config.validation_share * len(members)
            count = max(round(share), 1) if len(members) > 1 else 0
            held_N[members[np.argsort(draws_N[members], kind="stable")[:count]]] = True
        held_N[_long_prose(weighed, config)] = True
    return held_N


def _long_prose(weighed: Weighed, config: DocumentsConfig) -> list[int]:
    """Return places of long documents, one language after the other, the shortest first.

    Together they hold at most MAX_LONG_SHARE of the prose, so that a small corpus is not all
    validation.
    """
    queues = []
    left = 0.0  # bytes
    for group in sorted(set(weighed.groups) - set(NOT_PROSE)):
        members = np.flatnonzero(weighed.group_N == weighed.groups.index(group))
        sizes = weighed.size_N[members]
        left += MAX_LONG_SHARE * int(sizes.sum())
        members = members[sizes >= config.long_validation_bytes]
        order = np.argsort(weighed.size_N[members], kind="stable")
        queues.append(members[order[: config.long_validation_documents]].tolist())
    in_turn = (place for row in zip_longest(*queues) for place in row if place is not None)
    held = []
    for place in islice(in_turn, config.long_validation_documents):
        left -= int(weighed.size_N[place])
        if left < 0:
            break
        held.append(place)
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


def _copies_of_sources(
    wanted: float, sizes: dict[str, int], config: MixtureConfig
) -> dict[str, float]:
    """Return the copies of each source of a group: fixed by name, or a share of the rest."""
    fixed = {s: config.source_epochs[s] for s in sizes if s in config.source_epochs}
    left = max(0.0, wanted - sum(sizes[s] * copies for s, copies in fixed.items()))
    boosts = {s: (n, config.source_boost.get(s, 1.0)) for s, n in sizes.items() if s not in fixed}
    return copies_for(left, boosts, config.max_epochs) | fixed


def whole_copies(weighed: Weighed, members: Integers, copies: float) -> Integers:
    """Return whole copies of each member whose bytes add up to `copies` times all their bytes.

    Each document gets the whole part; who gets one more is drawn by its id. What one draw gives or
    takes too much is made up for by the next ones, of its own size and then of smaller ones, so
    that few large documents can't bend a small mixture.
    """
    whole, fraction = math.floor(copies), copies - math.floor(copies)
    given_M = np.full(len(members), whole, dtype=np.int64)
    if not fraction:
        return given_M
    sizes_M = weighed.size_N[members]
    order_M = weighed.draws_3N[DRAWS.index("order")][members]
    draws_M = weighed.draws_3N[DRAWS.index("copy")][members].tolist()
    bits_M = np.frexp(sizes_M.astype(np.float64))[1]  # the number's length in bits
    sizes = sizes_M.tolist()
    owed = 0.0  # bytes
    for place in np.lexsort((order_M, -bits_M)).tolist():
        owed += fraction * sizes[place]
        if owed > draws_M[place] * sizes[place]:
            owed -= sizes[place]
            given_M[place] += 1
    return given_M


def _wanted(used: dict[str, int], config: MixtureConfig) -> dict[str, float]:
    """Return the bytes each group should have in the mixture."""
    total = sum(used.values())
    budget = config.target_bytes or round(config.target_tokens * config.bytes_per_token)
    target = budget or total
    if config.weights:
        weights = {group: config.weights[group] for group in used if used[group]}
        all_weights = sum(weights.values())
        return {g: target * weights.get(g, 0.0) / all_weights if weights else 0.0 for g in used}
    # scaled by exactly 1 where nothing is asked, so that no document gets 0.999… copies
    scale = target / total if total else 1.0
    return {group: size * scale for group, size in used.items()}


def _describe(
    config: MixtureConfig, wanted: dict[str, float], weighed: Weighed, plan: Plan
) -> dict[str, Any]:
    """Return the mixture as JSON: for each group and source what there was, was asked, was got."""
    stays_N = plan.has_weight_N | weighed.is_chat_N
    groups = _sums(weighed.groups, weighed.group_N, weighed.size_N, plan, stays_N)
    sources = _sums(weighed.sources, weighed.source_N, weighed.size_N, plan, stays_N)
    for group in config.weights.keys() - groups.keys():
        groups[group] = _sums((group,), weighed.group_N, weighed.size_N, plan, stays_N & False)[
            group
        ]
    groups = {g: r for g, r in groups.items() if r["all"] or g in config.weights}
    sources = {s: r for s, r in sources.items() if r["all"]}
    total = sum(row["mixture_bytes"] for row in groups.values())
    all_weights = sum(config.weights.values())
    for row in (*groups.values(), *sources.values()):
        del row["all"]
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


def _sums(
    names: tuple[str, ...],
    place_N: Integers,
    size_N: Integers,
    plan: Plan,
    stays_N: NDArray[np.bool_],
) -> dict[str, dict[str, Any]]:
    """Return documents and bytes by name: those for training, used, held out; "all" counts each."""
    trained_N = stays_N & ~plan.held_N
    held_N = stays_N & plan.held_N

    def sums(which_N: NDArray[np.bool_], weight_N: Integers | None = None) -> list[int]:
        weights = None if weight_N is None else weight_N[which_N].astype(np.float64)
        found = np.bincount(place_N[which_N], weights=weights, minlength=len(names))
        return [round(float(value)) for value in found]

    columns = {
        "all": sums(stays_N),
        "documents": sums(trained_N),
        "bytes": sums(trained_N, size_N),
        "used_documents": sums(trained_N & (plan.epochs_N > 0)),
        "mixture_bytes": sums(trained_N, size_N * plan.epochs_N),
        "validation_documents": sums(held_N),
        "validation_bytes": sums(held_N, size_N),
    }
    return {name: {key: columns[key][i] for key in columns} for i, name in enumerate(names)}


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0
