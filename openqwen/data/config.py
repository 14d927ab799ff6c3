"""Settings of the documents stage, one class a step; light, so that recipes import it freely.

Sources of thresholds: Gopher (Rae et al. 2021, §A.1.1, table A1), C4 (Raffel et al. 2020, §2.2),
FineWeb (Penedo et al. 2024), StarCoder (Li et al. 2023, §3). The report names the steps of §2.1 and
gives no value, so every other number is ours; limits for Chinese are set so that translations of
one page fare alike (1.5 characters a word, measured on 1,300 pages of Debian's and LibreOffice's
manuals).
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from openqwen.core.config import Config, setting
from openqwen.data.decontaminate_config import DecontaminateConfig
from openqwen.data.engine_config import EngineConfig
from openqwen.data.language_config import LanguageConfig

Share = Annotated[float, Field(ge=0, le=1)]


class ExtractConfig(Config):
    """From bytes to text."""

    max_page_bytes: int = setting(16_000_000, "larger pages are dropped, in bytes", ge=1)
    max_bad_characters: Share = setting(
        0.005, "share of undecodable characters above which a page is dropped"
    )
    timeout_s: float = setting(10.0, "processor time one HTML page may take, in seconds", gt=0)
    memory_bytes: int = setting(
        2_000_000_000, "address space of one HTML worker, in bytes", ge=500_000_000
    )
    num_workers: int = setting(0, "processes that parse HTML; 0 is one a processor", ge=0)


class MinHashConfig(Config):
    """Near-duplicates: MinHash signatures, banding, verified by true Jaccard similarity."""

    ngram: int = setting(5, "units in a shingle: words, or characters for zh, ja and th", ge=1)
    threshold: float = setting(
        0.7, "Jaccard similarity from which two documents are twins", gt=0, lt=1
    )
    num_permutations: int = setting(128, "hash functions of a signature", ge=16, le=1024)
    min_recall: float = setting(
        0.98, "share of pairs at the threshold that banding must propose", gt=0, lt=1
    )


class WordRules(Config):
    """Limits for languages that write words with gaps."""

    min_words: int = setting(50, "words a document must have", source="Gopher", ge=0)
    max_words: int = setting(10_000_000, "words it may have (Gopher's 100,000 loses books)", ge=1)
    min_mean_word_chars: float = setting(
        3.0, "mean word length; Korean and Vietnamese are exempt", source="Gopher", ge=0
    )
    max_mean_word_chars: float = setting(10.0, "mean word length", source="Gopher", gt=0)
    short_line_chars: int = setting(30, "a line up to this length is short", source="FineWeb")


class CharacterRules(Config):
    """Limits for Chinese, Japanese and Thai, judged by characters."""

    min_chars: int = setting(75, "characters (Latin words count as one) a document must have", ge=0)
    max_chars: int = setting(20_000_000, "characters it may have", ge=1)
    min_script: Share = setting(0.25, "share of units that are in the language's own script")
    short_line_chars: int = setting(10, "a line up to this length is short")


class ProseRules(Config):
    """Limits that hold for every language; code blocks are left out before measuring."""

    min_prose_units: int = setting(10, "words or characters outside code blocks", ge=1)
    max_symbol_ratio: float = setting(
        0.1, "hash signs and ellipses for each word", source="Gopher", ge=0
    )
    min_alphabetic: Share = setting(0.7, "share of words with a letter (Gopher 0.8)")
    max_bullet_lines: Share = setting(0.9, "share of lines that open a list", source="Gopher")
    max_ellipsis_lines: Share = setting(
        0.3, "share of lines that end in an ellipsis", source="Gopher"
    )
    min_stop_words: int = setting(
        2, "different stop words a document must have", source="Gopher", ge=0
    )
    min_ended_lines: Share = setting(
        0.12, "share of lines that end in punctuation", source="FineWeb"
    )
    max_short_lines: Share = setting(0.85, "share of lines that are short (FineWeb 0.67)")
    banned_phrases: tuple[str, ...] = setting(
        ("lorem ipsum",), "a document with one of these is dropped, lower case", source="C4"
    )


class RepetitionRules(Config):
    """Limits on what a text repeats; Gopher's own take one good manual page in five."""

    max_duplicate_lines: Share = setting(0.5, "share of lines seen before (Gopher 0.3)")
    max_duplicate_line_chars: Share = setting(0.3, "share of text in such lines (Gopher 0.2)")
    max_duplicate_paragraphs: Share = setting(0.5, "share of paragraphs seen before (Gopher 0.3)")
    max_duplicate_paragraph_chars: Share = setting(
        0.3, "share of text in such paragraphs (Gopher 0.2)"
    )
    max_top_ngrams: dict[int, Share] = setting(
        {2: 0.3, 3: 0.28, 4: 0.26},
        "words in an n-gram -> share of text its most frequent one covers (Gopher 0.2, 0.18, 0.16)",
    )
    max_duplicate_ngrams: dict[int, Share] = setting(
        {5: 0.45, 6: 0.42, 7: 0.39, 8: 0.36, 9: 0.33, 10: 0.3},
        "words in an n-gram -> share of text in those seen before (Gopher a third of each)",
    )
    chars_a_word: int = setting(
        2, "characters that count as a word where words have no gaps, for n-gram lengths", ge=1
    )


class CodeRules(Config):
    """Limits for source code."""

    min_words: int = setting(20, "words and numbers a file must have", ge=0)
    max_line_chars: int = setting(1000, "longest line", source="StarCoder", ge=1)
    max_mean_line_chars: float = setting(100.0, "mean line length", source="StarCoder", gt=0)
    min_alphanumeric: Share = setting(
        0.25, "share of characters that are letters or digits", source="StarCoder"
    )
    max_escapes: Share = setting(0.15, "share of text in \\x and \\u escapes and hex numbers")
    max_duplicate_lines: Share = setting(0.5, "share of lines longer than 5 seen before")
    generated_markers: tuple[str, ...] = setting(
        ("auto-generated", "autogenerated", "automatically generated", "do not edit"),
        "lower-case words in the first five lines that mark generated files",
        source="StarCoder",
    )


class RulesConfig(Config):
    """Rule filters, per class of language; conversations must only not be empty."""

    words: WordRules = WordRules()
    characters: CharacterRules = CharacterRules()
    prose: ProseRules = ProseRules()
    repetition: RepetitionRules = RepetitionRules()
    code: CodeRules = CodeRules()


class MixtureConfig(Config):
    """How often each document is used: weights by group, up-sampling by source."""

    weights: dict[str, Annotated[float, Field(ge=0)]] = setting(
        {}, "group (en, zh, code, instructions …) -> weight; empty keeps natural proportions"
    )
    max_epochs: float = setting(
        4.0,
        "copies of a document at most (Muennighoff et al. 2023: 4 are nearly as good as new)",
        gt=0,
    )
    target_bytes: int = setting(0, "bytes of the mixture; 0 is as many as went in", ge=0)
    target_tokens: int = setting(
        0, "the same budget in tokens, taken for `bytes_per_token` bytes each; 0 sets none", ge=0
    )
    bytes_per_token: float = setting(
        3.5, "UTF-8 bytes a token stands for, for `target_tokens`; compression.json has yours", gt=0
    )
    source_epochs: dict[str, Annotated[float, Field(ge=0)]] = setting(
        {}, "source -> copies of each of its documents, whatever its group's weight says"
    )
    source_boost: dict[str, Annotated[float, Field(ge=0)]] = setting(
        {}, "source -> factor on its documents' copies within their group", source="§2.1"
    )
    non_commercial_sources: tuple[str, ...] = setting(
        (), "sources with a non-commercial licence that may be used all the same"
    )

    @model_validator(mode="after")
    def _weights_must_say_something(self) -> Self:
        if self.weights and not sum(self.weights.values()) > 0:
            raise ValueError("weights are all 0; give at least one group a weight above 0")
        if self.target_bytes and self.target_tokens:
            raise ValueError("target_bytes and target_tokens are both set; give one of them")
        return self


class AuditConfig(Config):
    """The page a person reads to judge the filters."""

    samples: int = setting(20, "samples for each drop reason, and kept ones for each source", ge=1)
    excerpt_chars: int = setting(1500, "characters of text kept of a dropped document", ge=80)


class DocumentsConfig(Config):
    """The documents stage: raw pages in, a cleaned, deduplicated, weighted mixture out (§2.1)."""

    how_only: ClassVar[frozenset[str]] = frozenset({"engine"})

    skip: tuple[Literal["url", "exact", "minhash", "rules", "decontaminate"], ...] = setting(
        (), "steps to leave out, for ablations"
    )
    validation_share: float = setting(
        0.03, "share of each group's documents held out for validation", ge=0, le=0.5
    )
    long_validation_documents: int = setting(
        8, "long prose documents held out too, for perplexity by length; taken in turn by language"
    )
    long_validation_bytes: int = setting(
        20_000, "size from which a document is long, in bytes; the shortest such are taken", ge=1
    )
    partition_bytes: int = setting(
        64_000_000, "input that one task takes, in bytes: a worker's memory grows with it", ge=1000
    )
    index: str = setting(
        "", "index of earlier crawls: their texts win over new ones, which are added to it"
    )
    engine: EngineConfig = EngineConfig()
    extract: ExtractConfig = ExtractConfig()
    language: LanguageConfig = LanguageConfig()
    minhash: MinHashConfig = MinHashConfig()
    rules: RulesConfig = RulesConfig()
    decontaminate: DecontaminateConfig = DecontaminateConfig()
    mixture: MixtureConfig = MixtureConfig()
    audit: AuditConfig = AuditConfig()
