"""Which language a document is in: by script where that decides, else by models that vote.

    LanguageIdentifier(config).identify("今天天气很好，我们去公园走走吧。")     # ("zh", 1.0)

A cascade, so that the costly steps see few documents: a small spread of the text's prose; its main
script, which decides where one language owns it (Han without Kana is Chinese, however short and
however many English words stand between); one fast model where it is sure; three models where it
isn't; and a larger sample where they aren't. No clear winner, or too little prose, is "und".
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from openqwen.core.documents import Document
from openqwen.data.language.config import LanguageConfig
from openqwen.data.language.models import language_models
from openqwen.data.language.prose_sample import (
    has_code_sign,
    prose_lines,
    spread,
    without_code,
    without_names,
)
from openqwen.data.language.scripts import LATIN, main_script
from openqwen.data.steps import Outcome, Rejected

__all__ = ["UNDECIDED", "LanguageIdentifier", "identify_languages", "without_code"]

UNDECIDED = "und"
OWN_SCRIPT = 0.9  # share of letters from which a script is settled before code is taken out
SURE_LETTERS = 150  # with fewer, all models are asked
MAX_WORD_CHARS = 40  # longer runs of letters are no words: Base64, hashes, keys
MIXED = 0.75  # share below which a larger sample is looked at

_LETTERS_OF = {
    LATIN: "A-Za-zªº\u00c0-\u024f\u1e00-\u1eff",
    "Cyrl": "\u0400-\u052f",
    "Arab": "\u0620-\u06ff\u0750-\u077f\u200c",
    "Hebr": "\u0591-\u05f4",
    "Deva": "\u0900-\u097f\u200d",
    "Beng": "\u0980-\u09ff\u200d",
    "Ethi": "\u1200-\u137f",
}
# whole words, so nothing of a1b2c3; possessive, so nothing shorter is tried
_WORDS = {
    script: re.compile(rf"(?<!\w)[{letters}]++(?:['’ʼ·-][{letters}]++)*+(?!\w)")
    for script, letters in _LETTERS_OF.items()
}


class LanguageIdentifier:
    """The cascade; models come with their packages, nothing is downloaded."""

    def __init__(self, config: LanguageConfig) -> None:
        self.config = config
        self.models = language_models(use_cld2=config.use_cld2)

    def identify(self, text: str) -> tuple[str, float]:
        """Return the ISO 639 code of a text's language, "und" where undecided, and a confidence.

        The confidence is the share of letters in the language's own script where the script
        decides, else the models' share for the answer.
        """
        text = without_code(text)
        limit = self.config.sample_chars
        code, share = self._judge(spread(text, limit))
        if share < MIXED and len(text) > limit:
            code, share = self._judge(spread(text, self.config.large_sample_chars))
        return (code if share >= self.config.min_confidence else UNDECIDED), share

    def _judge(self, sample: str) -> tuple[str, float]:
        """Return the language of a sample and a confidence; 0 where there is too little prose."""
        script, share, letters = main_script(sample)
        if share >= OWN_SCRIPT and letters >= SURE_LETTERS:
            if script not in _WORDS:
                return script, share
            code = self._first_look(sample)
            if code:
                return code, 1.0
        prose = prose_lines(sample)
        if prose is not sample:
            script, share, letters = main_script(prose)
            if letters < self.config.min_letters:
                prose = without_names(sample)
                script, share, letters = main_script(prose)
        if letters < self.config.min_letters:
            return UNDECIDED, 0.0
        if script not in _WORDS:
            return script, share
        found = [word for word in _WORDS[script].findall(prose) if len(word) <= MAX_WORD_CHARS]
        words = " ".join(found).lower()
        letters = len(words) - words.count(" ")
        if letters < self.config.min_letters:
            return UNDECIDED, 0.0
        if letters >= SURE_LETTERS:
            code = self.models.look(words)
            if code:
                return code, 1.0
        return self.models.weigh(words)

    def _first_look(self, sample: str) -> str:
        """Return the language that one fast model is sure of, else ""; code looks like English."""
        line = sample.replace("\n", " ")
        if not line.isprintable():  # control characters are no text, and the model refuses them
            return ""
        code = self.models.look(line)
        return code if code != "en" or not has_code_sign(sample) else ""


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
