"""Log-likelihoods of continuations, exact and batched (Brown et al. 2020, §2.4 scores choices so).

    scorer = Scorer(lm)
    for scored in scorer.score([(context_ids, continuation_ids), ...]):
        scored.logprob, scored.is_greedy, scored.num_tokens

Whatever texts begin with alike is computed once: few-shot examples once a subject, a question once
for all its choices, choices of one token by one state. Scores are those of each text alone, to
rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from openqwen.core.errors import UserError
from openqwen.core.workers import Workers
from openqwen.eval.scoring.config import ScoringConfig
from openqwen.eval.scoring.head import token_scores
from openqwen.eval.scoring.packed import packed_states
from openqwen.eval.scoring.tree import Node, Text, plant
from openqwen.infer.load import LanguageModel
from openqwen.infer.session import check_ids
from openqwen.model.long_context import NO_EXTENSION

Pair = tuple[Sequence[int], Sequence[int]]
LEAST_PASS = 256  # tokens of a pass that is worth a processor of its own


@dataclass(frozen=True)
class Scored:
    """A continuation given its context.

    Attributes:
        logprob: the sum over its tokens, in nats.
        is_greedy: whether each of them is the likeliest where it stands.
        num_tokens: of the continuation.
    """

    logprob: float
    is_greedy: bool
    num_tokens: int


class Scorer:
    """Scores continuations by one model.

    Attributes:
        num_cut: contexts that were cut from the left so far, as they were too long.
        num_computed: tokens that passes have computed so far.
        num_given: tokens that texts would have had computed each for itself.
    """

    def __init__(self, lm: LanguageModel, config: ScoringConfig | None = None) -> None:
        """Take a loaded model; texts are cut to its context."""
        self.lm, self.config = lm, config or ScoringConfig()
        self.num_cut = self.num_computed = self.num_given = 0

    def score(self, pairs: Sequence[Pair]) -> list[Scored]:
        """Return the score of each (context, continuation), in order.

        Raises:
            UserError: if a context or continuation is empty, or the latter longer than the model's
                context.
            ValueError: if an id is outside the vocabulary.
        """
        found: list[Scored | None] = [None] * len(pairs)
        for finished in self.stream(pairs):
            for i, scored in finished:
                found[i] = scored
        return [scored for scored in found if scored is not None]

    def stream(self, pairs: Sequence[Pair]) -> Iterator[list[tuple[int, Scored]]]:
        """Yield places and scores as passes finish them; raises as `score`."""
        methods = NO_EXTENSION if self.lm.model.training else self.lm.long_context
        by_alpha: dict[int, list[tuple[int, Text]]] = {}
        for i, pair in enumerate(pairs):
            text = self._text(i, pair)
            alpha = methods.alpha(len(text.ids), self.lm.config.train_length)
            by_alpha.setdefault(alpha, []).append((i, text))
        for alpha, found in by_alpha.items():
            numbers, texts = [i for i, _ in found], [text for _, text in found]
            for finished in self._score(texts, alpha):
                yield [(numbers[i], scored) for i, scored in finished]

    def _text(self, number: int, pair: Pair) -> Text:
        """Return a pair as the model reads it, cut from the left where it is too long."""
        context, continuation = list(pair[0]), list(pair[1])
        limit = self.lm.context
        if not context or not continuation:
            raise UserError(f"pair {number}: context and continuation need a token each")
        if len(continuation) > limit:
            raise UserError(
                f"pair {number}: the continuation has {len(continuation):,} tokens, the model is "
                f"set up for {limit:,}"
            )
        ids = context + continuation
        check_ids(ids, self.lm.config.vocab_size)
        if len(ids) > limit + 1:
            self.num_cut += 1
            ids = ids[-(limit + 1) :]
        self.num_given += len(ids) - 1
        return Text(ids[:-1], continuation)

    def _score(self, texts: Sequence[Text], alpha: int) -> Iterator[list[tuple[int, Scored]]]:
        """Walk the trees of texts with equal α: a level of as many trees as may be kept at once."""
        config = self.config
        sums, greedy = [0.0] * len(texts), [True] * len(texts)
        missing = [len(text.targets) for text in texts]
        num_kept = 0
        roots = plant(texts, longest=config.pass_tokens, least_saved=config.least_saved)
        levels = [roots]
        while levels:
            nodes = levels.pop()
            count = _fitting(nodes, max(0, config.kept_tokens - num_kept))
            if nodes[count:]:
                levels.append(nodes[count:])
            for batch, found in self._passes(nodes[:count], alpha):
                finished = []
                for text, logprob, is_greedy in found:
                    sums[text] += logprob
                    greedy[text] &= is_greedy
                    missing[text] -= 1
                    if not missing[text]:
                        num_tokens = len(texts[text].targets)
                        finished.append((text, Scored(sums[text], greedy[text], num_tokens)))
                num_kept += sum(len(node.ids) for node in batch if node.children)
                num_kept -= sum(node.finish() for node in batch if not node.children)
                if finished:
                    yield finished
            children = [child for node in nodes[:count] for child in node.children]
            if children:
                levels.append(children)

    def _passes(
        self, nodes: Sequence[Node], alpha: int
    ) -> Iterator[tuple[list[Node], list[tuple[int, float, bool]]]]:
        """Compute nodes whose parents are computed: several passes at once where there is enough.

        On the CPU each then runs on a processor of its own, and none waits for another's.
        """
        workers, total = Workers(), sum(len(node.ids) for node in nodes)
        self.num_computed += total
        most = self.config.pass_tokens
        is_cpu = self.lm.model.device.type == "cpu"
        share = max(LEAST_PASS, -(-total // workers.count))
        batches = list(_batches(nodes, min(most, share) if is_cpu else most))
        alphas = [alpha] * len(batches)
        if not is_cpu or len(batches) < workers.count:
            yield from zip(batches, map(self._pass, batches, alphas), strict=True)
            return
        with workers:
            yield from zip(batches, workers.map(self._pass, batches, alphas), strict=True)

    def _pass(self, nodes: Sequence[Node], alpha: int) -> list[tuple[int, float, bool]]:
        """Compute nodes; return text, log-probability and whether it is the likeliest by target."""
        begins, begin = [], 0
        for node in nodes:
            begins.append(begin)
            begin += len(node.ids)
        targets = [
            (start + target.offset, target)
            for start, node in zip(begins, nodes, strict=True)
            for target in node.targets
        ]
        rows = sorted({row for row, _ in targets})
        model = self.lm.model
        methods = NO_EXTENSION if model.training else self.lm.long_context
        states_RD = packed_states(model, nodes, rows, alpha=alpha, long_context=methods)
        if not targets:
            return []
        place = {row: i for i, row in enumerate(rows)}
        device = states_RD.device
        rows_N = torch.tensor([place[row] for row, _ in targets], device=device)
        tokens_N = torch.tensor([target.token for _, target in targets], device=device)
        log_probs_N, likeliest_N = token_scores(model, states_RD, rows_N, tokens_N)
        found = zip(targets, log_probs_N.tolist(), likeliest_N.tolist(), strict=True)
        return [
            (target.text, logprob, is_likeliest) for (_, target), logprob, is_likeliest in found
        ]


def _fitting(nodes: Sequence[Node], room: int) -> int:
    """Return how many of the first nodes may be kept together; at least one."""
    used = 0
    for count, node in enumerate(nodes):
        used += len(node.ids) if node.children else 0
        if used > room and count:
            return count
    return len(nodes)


def _batches(nodes: Sequence[Node], most: int) -> Iterator[list[Node]]:
    """Yield consecutive nodes of together at most `most` tokens."""
    batch: list[Node] = []
    size = 0
    for node in nodes:
        if batch and size + len(node.ids) > most:
            yield batch
            batch, size = [], 0
        batch.append(node)
        size += len(node.ids)
    if batch:
        yield batch
