"""Settings of decontamination; light, so that recipes import it freely."""

from typing import Literal

from openqwen.core.config import Config, setting


class DecontaminateConfig(Config):
    """Overlap with benchmark tests, measured in n-grams of words or characters."""

    ngram: int = setting(
        13,
        "units of an overlap: words; characters of Chinese, Japanese and Thai, which write no gaps",
        source="seed: 13-gram; GPT-3 (Brown et al. 2020, appendix C)",
        ge=2,
    )
    min_units: int = setting(
        8,
        "a benchmark text shorter than an n-gram must match whole and have this many",
        source="GPT-3, appendix C",
        ge=2,
    )
    min_words: int = setting(
        4,
        "different words in an overlap; numbers and single letters are none: rows of them, the "
        "alphabet and formulas stand everywhere",
        ge=0,
    )
    max_items: int = setting(
        20,
        "an n-gram in more items of the benchmarks is their boilerplate and not looked for; 0 sets "
        "no limit (a passage may have a dozen questions, a template has hundreds)",
        ge=0,
    )
    max_documents: int = setting(
        0,
        "an n-gram in more documents is boilerplate and no overlap; 0 sets no limit. Counted over "
        "the whole input by `openqwen data decontaminate`. With GPT-3's 10 a question copied to 11 "
        "pages stays on all of them",
        report=10,
        ge=0,
    )
    action: Literal["drop", "cut", "report"] = setting(
        "drop", "drop the document, cut the overlap out, or only list it in contamination.json"
    )
    cut_chars: int = setting(
        200, "characters cut on each side of an overlap", source="GPT-3, appendix C", ge=0
    )
    min_piece_chars: int = setting(
        200, "a shorter piece left by cutting goes too", source="GPT-3, appendix C", ge=1
    )
    max_pieces: int = setting(
        10, "a document cut into more is dropped as a whole", source="GPT-3, appendix C", ge=1
    )
    max_reported: int = setting(
        1000, "benchmark items reported for one document; all are counted", ge=1
    )
    context_chars: int = setting(
        200, "characters shown on each side of an overlap, of document and benchmark", ge=0
    )
