"""Personal data replaced by placeholders (an option): addresses, telephone and identity numbers.

    mask_text("联系lin@corp.cn或13912345678。", {"email": "<email>", "phone": "<phone>"})
    # "联系<email>或<phone>。", {"email": 1, "phone": 1}

Meant to be precise: what only looks like such data (versions, hashes, dates, ISBNs, constants,
examples) stays, and so does what is written to escape programs ("name at corp dot com"). Names and
postal addresses are not looked for.
"""

import bisect
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from openqwen.core.documents import Document
from openqwen.data.personal.addresses import find_emails, find_ips
from openqwen.data.personal.config import PersonalDataConfig
from openqwen.data.personal.numbers import (
    find_cards,
    find_chinese_ids,
    find_ibans,
    find_phones,
    find_ssns,
)
from openqwen.data.steps import Outcome

Span = tuple[int, int]
# in this order: what an earlier kind has taken, a later one leaves alone
FINDERS: dict[str, Callable[[str, int, int], Iterator[Span]]] = {
    "email": find_emails,
    "iban": find_ibans,
    "chinese_id": find_chinese_ids,
    "card": find_cards,
    "ssn": find_ssns,
    "ip": find_ips,
    "phone": find_phones,
}
AMONG_DIGITS = frozenset({"chinese_id", "card", "ssn", "ip", "phone"})
MARGIN = 40  # characters around a run of digits that its number may take in
CODE_KINDS = ("email",)  # numbers in source code are constants

# a full IPv6 address may have four digits in a row only
_DIGITS = re.compile(r"\d(?:[ .()（）/:-]{0,2}\d){3,}", re.ASCII)


def mask_personal_data(
    config: PersonalDataConfig, documents: Iterable[Document]
) -> Iterator[Outcome]:
    """Replace personal data in each document and in each message of conversations.

    What was replaced is counted in `scores`: "masked_email", "masked_phone" … Nothing is dropped.
    """
    if not config.enabled:
        yield from documents
        return
    kinds = {kind: getattr(config, f"{kind}_text") for kind in FINDERS if getattr(config, kind)}
    in_code = {kind: text for kind, text in kinds.items() if kind in CODE_KINDS}
    for document in documents:
        yield _mask(document, in_code if document.group == "code" else kinds)


def _mask(document: Document, kinds: dict[str, str]) -> Document:
    if document.messages:
        counts: Counter[str] = Counter()
        messages = []
        for message in document.messages:
            content, found = mask_text(message["content"], kinds)
            counts.update(found)
            messages.append(message | {"content": content})
        text = "\n".join(message["content"] for message in messages)
    else:
        messages = []
        text, counts = mask_text(document.text, kinds)
    if not counts:
        return document
    scores = document.scores | {f"masked_{kind}": float(n) for kind, n in counts.items()}
    return replace(document, text=text, messages=messages, scores=scores)


def mask_text(text: str, kinds: dict[str, str]) -> tuple[str, Counter[str]]:
    """Return a text with personal data replaced, and how much of each kind there was.

    Args:
        text: any text.
        kinds: kind (a key of FINDERS) -> what to put in its place.
    """
    spans = find_personal_data(text, tuple(kinds))
    if not spans:
        return text, Counter()
    pieces, at = [], 0
    for start, end, kind in spans:
        pieces += [text[at:start], kinds[kind]]
        at = end
    return "".join([*pieces, text[at:]]), Counter(kind for _, _, kind in spans)


def find_personal_data(text: str, kinds: Iterable[str]) -> list[tuple[int, int, str]]:
    """Return start, end and kind of all personal data in a text, in order, without overlaps."""
    taken: list[tuple[int, int, str]] = []
    windows = list(_windows(text))
    for kind, find in FINDERS.items():
        if kind not in kinds:
            continue
        for start, end in windows if kind in AMONG_DIGITS else [(0, len(text))]:
            for first, last in find(text, start, end):
                place = bisect.bisect(taken, (first, last, kind))
                before, after = taken[max(place - 1, 0) : place], taken[place : place + 1]
                if all(span[1] <= first for span in before) and all(
                    span[0] >= last for span in after
                ):
                    taken.insert(place, (first, last, kind))
    return taken


def _windows(text: str) -> Iterator[Span]:
    """Yield the parts of a text around runs of digits, where numbers are looked for."""
    start = end = 0
    for found in _DIGITS.finditer(text):
        if found.start() - MARGIN > end:
            if end:
                yield start, end
            start = max(found.start() - MARGIN, 0)
        end = min(found.end() + MARGIN, len(text))
    if end:
        yield start, end
