"""Many rough pairs for preference-model pretraining, made from conversations (§3.2.1).

    pairs = make_comparisons(conversations, num=2000, seed=0)

The report pretrains its preference model on a large comparison set and does not say which. Ours
sets an answer that was given against one that is worse for a reason known by construction: another
question's answer of about the same length, the answer cut off, the answer with a sentence said over
and over, its sentences in disorder, or an answer in the other language.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from openqwen.data.draw import draw
from openqwen.data.training.conversations import Conversation
from openqwen.data.training.preferences import Pair

KINDS = ("off_topic", "cut_off", "repeated", "shuffled", "other_language")
_SENTENCE = re.compile(r"[^.!?。！？\n]+[.!?。！？\n]*\s*")
_CHINESE = re.compile(r"[一-鿿]")
NEAR = 8  # off-topic answers are drawn among so many of the nearest length
MIN_CHARS = 8
HELD_OUT_SHARE = 0.1


def make_comparisons(conversations: Sequence[Conversation], *, num: int, seed: int) -> list[Pair]:
    """Return up to `num` pairs, kinds in turn; a conversation's split is its pairs' split.

    Args:
        conversations: those that end with an answer of some length are used.
        num: how many pairs.
        seed: of all choices.
    """
    talks = [_split_again(c, seed) for c in conversations if _answer(c)]
    talks.sort(key=lambda c: (draw(seed, "comparisons", c.id), c.id))
    by_group: dict[tuple[str, bool], list[Conversation]] = defaultdict(list)
    for talk in talks:
        by_group[talk.split, _is_chinese(_answer(talk))].append(talk)
    for members in by_group.values():
        members.sort(key=lambda c: (len(_answer(c)), c.id))
    places = {c.id: (group, i) for group, ms in by_group.items() for i, c in enumerate(ms)}
    pairs: list[Pair] = []
    for turn in range(len(KINDS)):
        for index, talk in enumerate(talks):
            if len(pairs) == num:
                return pairs
            kind = KINDS[(index + turn) % len(KINDS)]
            rng = np.random.default_rng([seed, turn, index])
            worse = _worse(kind, talk, by_group, places, rng)
            if worse and worse.strip() != _answer(talk).strip():
                id = f"{talk.id}:{kind}"
                prompt = talk.messages[:-1]
                pairs.append(Pair(id, kind, prompt, _answer(talk), worse, talk.split, (kind,)))
    return pairs


def _split_again(talk: Conversation, seed: int) -> Conversation:
    """Hold out more conversations than the documents do, whose few would say little."""
    held = draw(seed, "comparisons held out", talk.id) < HELD_OUT_SHARE
    return replace(talk, split="validation") if held else talk


def _worse(
    kind: str,
    talk: Conversation,
    by_group: dict[tuple[str, bool], list[Conversation]],
    places: dict[str, tuple[tuple[str, bool], int]],
    rng: np.random.Generator,
) -> str:
    """Return a worse answer of one kind, or "" where this answer has none."""
    answer = _answer(talk)
    group, place = places[talk.id]
    if kind == "off_topic":
        near = [i for i in range(place - NEAR, place + NEAR + 1) if i != place]
        near = [i for i in near if 0 <= i < len(by_group[group])]
        return _answer(by_group[group][near[int(rng.integers(len(near)))]]) if near else ""
    if kind == "other_language":
        others = by_group[group[0], not group[1]]
        return _answer(others[int(rng.integers(len(others)))]) if others else ""
    return CHANGES[kind](answer, rng)


def _cut_off(answer: str, rng: np.random.Generator) -> str:
    share = 0.3 + 0.4 * float(rng.random())
    return answer[: max(1, int(share * len(answer)))].rstrip()


def _repeated(answer: str, rng: np.random.Generator) -> str:
    """Return the answer's beginning with one of its sentences over and over, of the same length."""
    sentences = _SENTENCE.findall(answer)
    place = int(rng.integers(max(1, len(sentences) // 2)))
    if not sentences:
        return ""
    again: str = sentences[place]
    begin = "".join(sentences[: place + 1])
    times = max(2, (len(answer) - len(begin)) // max(1, len(again)))
    return begin + again * times


def _shuffled(answer: str, rng: np.random.Generator) -> str:
    sentences = _SENTENCE.findall(answer)
    if len(sentences) < 3:
        return ""
    return "".join(sentences[int(i)] for i in rng.permutation(len(sentences)))


CHANGES: dict[str, Callable[[str, np.random.Generator], str]] = {
    "cut_off": _cut_off,
    "repeated": _repeated,
    "shuffled": _shuffled,
}


def _answer(conversation: Conversation) -> str:
    """Return the last answer, or "" where there is none worth comparing."""
    last = conversation.messages[-1]
    is_answer = last["role"] == "assistant" and len(last["content"]) >= MIN_CHARS
    return last["content"] if is_answer else ""


def _is_chinese(text: str) -> bool:
    return len(_CHINESE.findall(text)) > 0.15 * len(text)
