"""Settings of the block list of offensive terms; off by default."""

from typing import Literal

from openqwen.core.config import Config, Share, setting

Fetchable = Literal[
    "ar", "de", "en", "es", "fr", "hi", "it", "ja", "ko", "nl", "pt", "ru", "sv", "th", "zh"
]


class BlockListConfig(Config):
    """Terms by language, and how much of them a document may hold; off until lists are named."""

    files: dict[str, str] = setting(
        {}, "ISO 639-1 code, or * for all languages -> text file of terms, one a line, # comments"
    )
    fetched: tuple[Fetchable, ...] = setting(
        (), "languages whose list that C4 used is fetched too (LDNOOBW, CC BY 4.0, from PyPI)"
    )
    any_hit: bool = setting(False, "drop a document with a single hit, as C4 does")
    max_density: Share = setting(0.01, "share of text in listed terms")
    min_distinct: int = setting(
        3, "different listed terms from which density counts: XXX alone is a placeholder", ge=1
    )
    max_distinct: int = setting(
        8, "different listed terms; counts from a tenth of that density on: novels hold many", ge=0
    )
    min_term_chars: int = setting(
        2,
        "Chinese, Japanese and Thai terms with fewer characters are not used: 性 is in 性能",
        ge=1,
    )
    allow: dict[str, tuple[str, ...]] = setting(
        {}, "language -> phrases that may hold a listed term, beside those we know"
    )
