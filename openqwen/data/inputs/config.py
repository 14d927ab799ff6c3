"""Settings of the sources stage; light, so that recipes import it freely."""

import difflib
from collections.abc import Iterable
from typing import Self

from pydantic import model_validator

from openqwen.core.config import Config, setting
from openqwen.data.inputs.catalogue import BENCHMARKS, DEFAULT_SOURCES, PREFERENCES, SOURCES


class SourcesConfig(Config):
    """Raw pages: named sources from package registries, or the user's own files in their place."""

    paths: tuple[str, ...] = setting(
        (), "files or folders (.html, .warc, .txt, .jsonl, .parquet …) in place of `names`"
    )
    licence: str = setting("unknown", "licence of the files in `paths`, where a row names none")
    names: tuple[str, ...] = setting(DEFAULT_SOURCES, "sources of the catalogue to fetch")
    benchmarks: tuple[str, ...] = setting(
        ("humaneval", "mmlu"), "evaluation sets to fetch for decontamination", source="seed"
    )
    preferences: tuple[str, ...] = setting(
        ("dpo-en", "dpo-zh"), "sets of answer pairs to fetch for the reward model"
    )
    max_page_bytes: int = setting(
        16_000_000, "a larger page, unpacked, is set aside, in bytes", ge=1
    )
    max_pages_per_source: int = setting(
        0, "pages taken of each source or path, the first ones in order; 0 takes all", ge=0
    )

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        if not self.paths and not self.names:
            raise ValueError("names and paths are both empty; there is nothing to read")
        if not self.paths and self.licence != "unknown":
            raise ValueError("licence speaks of the files in paths, and there are none")
        _check("names", self.names, SOURCES)
        _check("benchmarks", self.benchmarks, BENCHMARKS)
        _check("preferences", self.preferences, PREFERENCES)
        return self


def _check(key: str, chosen: tuple[str, ...], known: Iterable[str]) -> None:
    """Refuse names that the catalogue lacks or that are there twice."""
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
            raise ValueError(
                f"{key} holds {name!r}, which is not one of them; near: {', '.join(near)}"
            )
        if chosen.count(name) > 1:
            raise ValueError(f"{key} holds {name!r} twice")
