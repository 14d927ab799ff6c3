"""Texts of 42 languages whose language is known from their files, for language_speed.py.

    samples, packages = read_samples(languages=("de", "zh"), pages=40)

Pages are manuals (installation guide, LibreOffice help, GNOME help) and short texts are messages of
gettext catalogues, all from Debian packages that the project's own command fetches. No language
detector chooses or labels a text. What the packages left untranslated goes by these rules:

- a line or message that stands the same in the English file, or in the files of two languages;
- a line with three of the English function words below, in a file of another language;
- a text with less than half of its letters in the script of its language;
- a page of which such lines were more than a fifth.

A page or message is held out by a hash of its name, the same for all languages: no page is tuned
on in one language and reported in another.
"""

import ast
import gettext
import hashlib
import io
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from openqwen.core.archives import archive_files
from openqwen.core.fetch import fetch_debian
from openqwen.data.extraction.html import main_text

# language -> its script; Bosnian, Nynorsk and Latin Serbian are left out: see docs/language.md
LATIN, CYRILLIC, ARABIC = r"A-Za-z\u00aa-\u024f\u1e00-\u1eff", r"\u0400-\u052f", r"\u0620-\u06ff"
SCRIPTS = {
    **dict.fromkeys(("en", "de", "fr", "es", "pt", "it", "ca", "gl", "ro", "sv", "da"), LATIN),
    **dict.fromkeys(("no", "nl", "fi", "et", "lv", "lt", "pl", "cs", "sk", "sl", "hr"), LATIN),
    **dict.fromkeys(("hu", "tr", "vi", "id", "ms", "eu"), LATIN),
    **dict.fromkeys(("ru", "uk", "bg", "mk", "sr"), CYRILLIC),
    **dict.fromkeys(("ar", "fa"), ARABIC),
    "he": r"\u0590-\u05ff",
    "el": r"\u0370-\u03ff",
    "hi": r"\u0900-\u097f",
    "th": r"\u0e00-\u0e7f",
    "ko": r"\u1100-\u11ff\uac00-\ud7af",
    "zh": r"\u3400-\u9fff",
    "ja": r"\u3040-\u30ff\u3400-\u9fff",
}
GAPLESS = ("zh", "ja", "th")
FILE_CODES = {"nb": "no", "pt_BR": "pt", "zh_CN": "zh", "zh-CN": "zh", "zh_TW": "zh", "C": "en"}
SKIPPED_CODES = ("pt_BR", "zh_HK")  # as good as twice the same text in one language

GUIDE = "installation-guide-amd64"
HELP = ("ca", "cs", "da", "de", "el", "en-us", "es", "et", "eu", "fi", "fr", "gl", "hi", "hu", "id")
HELP += ("it", "ja", "ko", "nl", "pl", "pt", "ru", "sk", "sl", "sv", "tr", "vi", "zh-cn")
GNOME = "gnome-user-docs"
CATALOGUES = ("apt", "aptitude-common", "dpkg", "evolution-common", "gnome-control-center-data")
CATALOGUES += ("libgtk-3-common", "nautilus-data", "vlc-l10n")

ENGLISH_WORDS = frozenset(
    (
        *("the", "and", "you", "that", "with", "this", "from", "are", "which", "your", "can"),
        *("will", "not", "when", "have", "been", "should"),
    )
)
MIN_PAGE_LETTERS = 400
NUM_CODE_BLOCKS = 500
MIN_PAGES = 20  # of a language; with fewer, paragraphs made of messages are added
MAX_UNTRANSLATED = 0.2  # of a page's letters
MIN_OWN_SCRIPT = 0.5
SHORT_CHARS = (20, 60)
LABEL_CHARS = (3, 20)
_WORDS = re.compile(r"[^\W\d_]+")
_LETTER = re.compile(r"[^\W\d_]")
_MARKUP = re.compile(r"[%{}<>|\\$=\n\t&@]|_|://|\.\w|--")
_SENTENCE_END = re.compile(r"(?<=[.!?。！？])\s*")


@dataclass(frozen=True)
class Sample:
    """One text of a known language; `kind` is "clean", "short" or a kind of mixed text."""

    id: str
    kind: str
    language: str
    text: str
    held_out: bool


def draw(name: str) -> float:
    """Return a number in [0, 1) that depends on the name alone."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48


def is_held_out(name: str) -> bool:
    """Return whether a page or message, named without its language, is reported on."""
    return draw(f"held out {name}") < 0.7


def read_pages(package: str, max_pages: int) -> list[tuple[str, str, str]]:
    """Return (language, page name, text) of the pages a package holds, drawn by their names."""
    found: list[tuple[str, str, str]] = []
    for path, content in archive_files(fetch_debian(package).path):
        language, name = _page_of(package, path)
        # three times too many, since untranslated ones go; the draw is of a page in all languages
        if language not in SCRIPTS or draw(f"page {name}") > _share(package, max_pages):
            continue
        raw = content.read()
        text = _mallard_text(raw) if path.endswith(".page") else main_text(raw.decode("utf-8"))
        found.append((language, name, text))
    return found


def _share(package: str, max_pages: int) -> float:
    total = {GUIDE: 98, GNOME: 293}.get(package, 2500)
    return min(1.0, 3 * max_pages / total)


def _page_of(package: str, path: str) -> tuple[str, str]:
    """Return the language and the name of a page, "" where a file is none."""
    parts = path.split("/")
    if package == GUIDE and path.endswith(".html"):
        code = parts[4]
    elif package == GNOME and path.endswith(".page") and parts[4] == "gnome-help":
        code = parts[3]
    elif path.endswith(".html") and "/text/" in path:
        code = parts[4] if parts[4] != "en-US" else "en"
    else:
        return "", ""
    name = path.split("/text/")[-1] if "/text/" in path else parts[-1]
    if code in SKIPPED_CODES:
        return "", ""
    return FILE_CODES.get(code, code), f"{package.removesuffix('-zh-cn')[:12]}/{name}"


def _mallard_text(raw: bytes) -> str:
    """Return titles and paragraphs of a GNOME help page, one a line."""
    lines = []
    for element in ElementTree.fromstring(raw).iter():
        if element.tag.rpartition("}")[2] in ("p", "title"):
            lines.append(" ".join("".join(element.itertext()).split()))
    return "\n\n".join(line for line in lines if line)


def translated_pages(pages: list[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """Yield the pages of all packages without what was left untranslated; see the rules above."""
    english = {name: set(_lines(text)) for language, name, text in pages if language == "en"}
    for language, name, text in pages:
        same = english.get(name, set()) if language != "en" else set()
        lines = [line for line in text.split("\n") if line.strip() not in same or not line.strip()]
        if language != "en":
            lines = [line for line in lines if not _is_english(line)]
        kept = "\n".join(lines).strip()
        letters = len(_LETTER.findall(kept))
        if letters < MIN_PAGE_LETTERS // (3 if language in GAPLESS else 1):
            continue
        if letters < (1 - MAX_UNTRANSLATED) * len(_LETTER.findall(text)):
            continue
        if own_script(kept, language) >= MIN_OWN_SCRIPT:
            yield language, name, kept


def _lines(text: str) -> Iterator[str]:
    return (line.strip() for line in text.split("\n") if _LETTER.search(line))


def _is_english(line: str) -> bool:
    return len(ENGLISH_WORDS & set(line.lower().split())) >= 3


def own_script(text: str, language: str) -> float:
    """Return the share of a text's letters that are in its language's script."""
    letters = len(_LETTER.findall(text))
    return len(re.findall(f"[{SCRIPTS[language]}]", text)) / max(letters, 1)


def read_messages(package: str) -> list[tuple[str, str, str]]:
    """Return (language, English message, translation) of a package's catalogues."""
    found = []
    for path, content in archive_files(fetch_debian(package).path):
        if not path.endswith(".mo") or "/LC_MESSAGES/" not in path:
            continue
        code = path.split("/LC_MESSAGES/")[0].rpartition("/")[2]
        language = FILE_CODES.get(code, code)
        if language not in SCRIPTS or code in SKIPPED_CODES:
            continue
        catalogue = gettext.GNUTranslations(io.BytesIO(content.read()))
        for key, value in catalogue._catalog.items():  # type: ignore[attr-defined]
            source = key[0] if isinstance(key, tuple) else key
            source = source.rpartition("\x04")[2]
            if source and isinstance(value, str):
                found.append((language, source, value))
    return found


def translated_messages(rows: Iterable[tuple[str, str, str]]) -> dict[str, dict[str, str]]:
    """Return language -> English message -> translation, without what is the same elsewhere."""
    languages_of: dict[str, set[str]] = defaultdict(set)
    kept: dict[str, dict[str, str]] = defaultdict(dict)
    for language, source, value in rows:
        source, text = source.replace("_", "").strip(), value.replace("_", "").strip()
        text = re.sub(r"\(.\)$", "", text)  # the access keys of menus
        if _MARKUP.search(text) or text == source or own_script(text, language) < MIN_OWN_SCRIPT:
            continue
        languages_of[text.lower()].add(language)
        kept[language].setdefault(source, text)
        if not _MARKUP.search(source):
            languages_of[source.lower()].add("en")
            kept["en"].setdefault(source, source)
    for language, texts in kept.items():
        kept[language] = {
            source: text
            for source, text in texts.items()
            if languages_of[text.lower()] == {language}
            and (language == "en" or not _is_english(text))
        }
    return kept


def is_sentence(text: str, language: str) -> bool:
    """Return whether a message is a short text of several words."""
    words = text.split()
    enough = language in GAPLESS or len([w for w in words if _LETTER.search(w)]) >= 3
    return (
        SHORT_CHARS[0] <= len(text) <= SHORT_CHARS[1]
        and enough
        and len(_LETTER.findall(text)) + text.count(" ") >= 0.8 * len(text)
    )


def python_code() -> list[str]:
    """Return functions of the standard library, without docstrings and comments."""
    found = []
    for path in sorted(Path(io.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8", errors="ignore"))):
            if isinstance(node, ast.FunctionDef):
                if ast.get_docstring(node) is not None:
                    node.body = node.body[1:] or [ast.Pass()]
                text = ast.unparse(node)
                if 12 <= text.count("\n") <= 40 and len(text) < 2000:
                    found.append(text)
    return sorted(found, key=draw)[:NUM_CODE_BLOCKS]


def read_samples(
    languages: Iterable[str] = tuple(SCRIPTS), pages: int = 60, short: int = 200, mixed: int = 60
) -> tuple[list[Sample], dict[str, str]]:
    """Return the texts, and the versions of the packages they come from.

    Args:
        languages: codes of `SCRIPTS`.
        pages: clean pages a language and kind of manual, tuned on and held out together.
        short: short texts a language.
        mixed: texts a language and kind of mixture.
    """
    packages = [GUIDE, GNOME, *(f"libreoffice-help-{code}" for code in HELP)]
    versions = {name: fetch_debian(name).version for name in [*packages, *CATALOGUES]}
    with ProcessPoolExecutor(2) as pool:
        read = list(pool.map(read_pages, packages, [pages] * len(packages)))
        rows = [row for found in pool.map(read_messages, CATALOGUES) for row in found]
    all_pages = list(translated_pages([page for found in read for page in found]))
    messages = translated_messages(rows)
    samples: list[Sample] = []
    wanted = [code for code in SCRIPTS if code in set(languages)]
    for language in wanted:
        mine = [(name, text) for code, name, text in all_pages if code == language]
        samples += _clean(language, mine, messages[language], pages)
        samples += _short(language, messages[language], short)
    samples += _mixed(wanted, samples, messages, mixed)
    return samples, versions


def _clean(
    language: str, mine: list[tuple[str, str]], messages: dict[str, str], count: int
) -> list[Sample]:
    """Return pages of each kind of manual; where there are none, paragraphs of messages."""
    found, taken = [], Counter()  # type: ignore[var-annotated]
    for name, text in sorted(mine, key=lambda page: draw(page[0])):
        kind = name.split("/")[0]
        taken[kind] += 1
        if taken[kind] <= count:
            found.append(Sample(f"{language}/{name}", "clean", language, text, is_held_out(name)))
    if len(found) >= MIN_PAGES:
        return found
    texts = [(s, t) for s, t in messages.items() if len(t) >= 20]
    for held_out in (False, True):
        part = sorted((draw(s), t) for s, t in texts if is_held_out(s) == held_out)
        for number in range(0, min(len(part) - 11, 12 * count), 12):
            text = " ".join(t if t[-1] in ".!?" else f"{t}." for _, t in part[number : number + 12])
            name = f"{language}/messages/{held_out:d}/{number}"
            found.append(Sample(name, "clean", language, text, held_out))
    return found


def _short(language: str, messages: dict[str, str], count: int) -> list[Sample]:
    texts = [(s, t) for s, t in messages.items() if is_sentence(t, language)]
    return [
        Sample(f"{language}/short/{n}", "short", language, text, is_held_out(source))
        for n, (source, text) in enumerate(sorted(texts, key=lambda t: draw(t[0]))[:count])
    ]


def _paragraphs(sample: Sample) -> list[str]:
    low, high = (40, 300) if sample.language in GAPLESS else (100, 600)
    parts = [part.strip() for part in sample.text.split("\n\n")]
    found = [part for part in parts if low <= len(part) <= high and "```" not in part]
    return found or [sample.text[:high]]


def _mixed(
    languages: list[str], samples: list[Sample], messages: dict[str, dict[str, str]], count: int
) -> list[Sample]:
    """Return prose with more code than prose, two parts of a language and one of another, menus."""
    code = python_code()
    clean: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.kind == "clean":
            clean[sample.language].append(sample)
    found = []
    for language in languages:
        mine = sorted(clean[language], key=lambda sample: draw(sample.id))
        for number in range(count):
            sample = mine[number % len(mine)]
            prose = _paragraphs(sample)
            first = prose[number % len(prose)]
            block = code[int(draw(f"code {language} {number}") * len(code))]
            if number % 2:
                block = f"```python\n{block}\n```"
            mixture = [("code", f"{first}\n\n{block}")]
            other = (
                "en"
                if number % 2 and language != "en"
                else languages[int(draw(f"other {language} {number}") * len(languages))]
            )
            if other != language and clean[other]:
                same_side = [s for s in clean[other] if s.held_out == sample.held_out]
                guest = _paragraphs(same_side[number % len(same_side)])[0]
                mixture.append(("two", _two(sample, guest, other)))
            found += [
                Sample(f"{language}/{kind}/{number}", kind, language, text, sample.held_out)
                for kind, text in mixture
            ]
        found += _menus(language, messages[language], count)
    return found


def _two(sample: Sample, guest: str, other: str) -> str:
    """Return prose with a paragraph of another language in it that says half as much, or less."""
    weight = {code: 3 if code in ("zh", "ja", "ko") else 1 for code in (sample.language, other)}
    wanted = 2 * len(guest) * weight[other] // weight[sample.language]
    own: list[str] = []
    for part in _paragraphs(sample) + [p for p in sample.text.split("\n\n") if "```" not in p]:
        if sum(map(len, own)) < wanted:
            own.append(part)
    room = sum(map(len, own)) * weight[sample.language] // (2 * weight[other])
    return "\n\n".join([own[0], guest[:room], *own[1:]])


def _menus(language: str, messages: dict[str, str], count: int) -> list[Sample]:
    """Return lists of 15 short labels, as menus and buttons have them."""
    found = []
    for held_out in (False, True):
        labels = [
            (draw(source), text)
            for source, text in messages.items()
            if is_held_out(source) == held_out
            and (2 if language in GAPLESS else LABEL_CHARS[0]) <= len(text) <= LABEL_CHARS[1]
            and not text.isupper()
        ]
        texts = [text for _, text in sorted(labels)]
        share = int(count * (0.7 if held_out else 0.3))
        for number in range(min(share, len(texts) // 15)):
            menu = "\n".join(texts[15 * number : 15 * number + 15])
            name = f"{language}/menu/{held_out:d}/{number}"
            found.append(Sample(name, "menu", language, menu, held_out))
    return found
