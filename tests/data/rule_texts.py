"""Texts with every kind of fault, made from the good ones by numbers; for the golden verdicts."""

import random
from collections.abc import Iterator

from documents_for_tests import GOOD_CHINESE, GOOD_CODE, GOOD_ENGLISH, code, document

from openqwen.core.documents import Document


def _damaged(text: str, generator: random.Random) -> str:
    """Return a text with parts repeated, cut, broken into lines or filled with signs."""
    gapless = " " not in text[:40]
    words = list(text) if gapless else text.split(" ")
    joiner = "" if gapless else " "
    for _ in range(generator.randint(0, 4)):
        start = generator.randrange(len(words))
        part = words[start : start + generator.choice((2, 3, 5, 12, 40))]
        kind = generator.randrange(7)
        if kind == 0:
            words[start:start] = part * generator.choice((2, 10, 60))
        elif kind == 1:
            words = words[: max(start, 5)]
        elif kind == 2:
            step = generator.choice((3, 8, 20))
            words = [word + "\n" * (place % step == 0) for place, word in enumerate(words)]
        elif kind == 3:
            words[start:start] = [generator.choice(("# ", "... ", "12 ", "…"))] * len(words)
        elif kind == 4:
            words = [word.strip(".。,，") for word in words]
        elif kind == 5:
            words = [*words, "\n\n", *words[: 3 * len(words) // 4]]
        else:
            words = [word.replace("\n", "\n- ") for word in words]
    return joiner.join(words)


def golden_documents() -> Iterator[Document]:
    """Yield 300 documents, the same ones whenever and wherever they are made."""
    sources = {"en": GOOD_ENGLISH, "zh": GOOD_CHINESE, "": GOOD_CODE}
    for number in range(300):
        generator = random.Random(number)
        language = ("en", "zh", "en", "zh", "")[number % 5]
        text = _damaged(sources[language], generator)
        yield document(text, f"g/{number}", language=language) if language else code(text)
