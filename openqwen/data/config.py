"""Settings of the documents stage, one class a step; light, so that recipes import it freely.

Those of the rule filters are in `data.rules.config`. The report names the steps of §2.1 and gives
no value, so numbers without a source are ours.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from openqwen.core.config import Config, Share, setting
from openqwen.data.audit.config import AuditConfig
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.engines.config import EngineConfig
from openqwen.data.language.config import LanguageConfig
from openqwen.data.personal.config import PersonalDataConfig
from openqwen.data.rules.block_list_config import BlockListConfig
from openqwen.data.rules.config import RulesConfig
from openqwen.data.scores.config import ScoresConfig


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
    urls: Literal["pages", "all", "off"] = setting(
        "pages",
        "whose URLs tell them: web pages', all documents' (rows of one data set may share one), no",
    )
    partition_bytes: int = setting(
        64_000_000, "memory that one task of deduplication may take, in bytes, about", ge=1_000_000
    )


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
    block_list: BlockListConfig = BlockListConfig()
    scores: ScoresConfig = ScoresConfig()
    personal_data: PersonalDataConfig = PersonalDataConfig()
    mixture: MixtureConfig = MixtureConfig()
    audit: AuditConfig = AuditConfig()
