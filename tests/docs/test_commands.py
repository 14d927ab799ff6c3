"""Every command that the README and the docs show: its options exist, and the quick ones run."""

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from openqwen.cli.main import build_parser

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"^(?:<!-- run: (?P<run>\w+)[^\n]*-->\n)?"
    r"(?P<fence>```+)(?P<kind>[\w+-]*)\n(?P<text>.*?)^(?P=fence)",
    re.MULTILINE | re.DOTALL,
)
SHELL = ("", "bash", "sh", "shell", "console")
RUNS = ("quick", "long", "no")
BEFORE = re.compile(r"^(?:\$ |srun .*?(?=torchrun |openqwen |python )|[A-Z_]+=\S+ )+")
STARTS = re.compile(r"(?:openqwen|make|torchrun)\s|python benchmarks/")
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@dataclass(frozen=True)
class Block:
    page: Path
    run: str
    lines: tuple[str, ...]


def blocks_of(page):
    """Return the page's blocks of shell commands, lines joined where they go on."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        if match["kind"] in SHELL:
            joined = match["text"].replace("\\\n", " ")
            found.append(Block(page, match["run"] or "", tuple(joined.splitlines())))
    return found


def commands_of(block):
    """Yield the words of each command that a test can judge."""
    for line in block.lines:
        line = re.sub(BEFORE, "", line.strip())
        if not re.match(STARTS, line):
            continue
        for part in re.split(r"\s(?:&&|;|\||&)(?:\s|$)", line):
            plain = re.split(r"\s(?:2?>|<)\s?", re.sub(r"\$\([^)]*\)", "made", part))[0]
            try:
                words = shlex.split(plain, comments=True)
            except ValueError:
                pytest.fail(f"{block.page.name}: {line} has an open quote")
            if words:
                yield words


ALL = [block for page in PAGES for block in blocks_of(page)]
COMMANDS = sorted({(b.page, tuple(words)) for b in ALL for words in commands_of(b)})


def named(value):
    page, words = value
    return f"{page.relative_to(ROOT)}: {' '.join(words)[:60]}"


def test_there_are_commands_on_many_pages():
    assert len({page for page, _ in COMMANDS}) > 15
    assert len(COMMANDS) > 150


def test_what_blocks_need_is_said_in_known_words():
    assert {block.run for block in ALL} <= {"", *RUNS}


def test_no_command_stands_where_no_test_sees_it():
    for page in PAGES:
        outside = BLOCK.sub("", page.read_text(encoding="utf-8"))
        for line in outside.splitlines():
            bare = re.sub(BEFORE, "", line.strip())
            assert not (line.startswith("    ") and STARTS.match(bare)), f"{page.name}: {line}"


@pytest.mark.parametrize("command", COMMANDS, ids=named)
def test_a_command_is_one_that_the_program_takes(command, capsys):
    _, words = command
    if words[0] == "torchrun" and "openqwen" in words:
        words = words[words.index("openqwen") :]
    if words[0] == "openqwen":
        if "…" in " ".join(words) or "VERB" in words or set(words) & {"--help", "--version"}:
            assert words[1] in ("VERB", "--help", "--version") or build_parser(words[1])
            return
        try:
            build_parser(words[1]).parse_args(list(words[1:]))
        except SystemExit:
            pytest.fail(capsys.readouterr().err.splitlines()[-1])
    elif words[0] == "make":
        named_targets = [word for word in words[1:] if "=" not in word and not word.startswith("-")]
        assert set(named_targets) <= TARGETS | {".venv/dev.stamp", ".venv/demo.stamp"}
    elif words[0] == "python":
        assert (ROOT / words[1]).is_file(), f"{words[1]} is not there"
        source = (ROOT / words[1]).read_text(encoding="utf-8")
        for word in words[2:]:
            if word.startswith("--"):
                assert word.split("=")[0] in source, f"{words[1]} has no {word}"


def run_blocks(page, kinds, folder):
    """Run a page's blocks of some kinds in order, in one folder."""
    folder.mkdir(exist_ok=True)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks_of(page):
        if block.run in kinds:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", "\n".join(block.lines)],
                cwd=folder, env={**os.environ, "PATH": path}, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=7200, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{block.lines}\n{done.stdout}\n{done.stderr}"


PAGES_THAT_RUN = [
    page for page in PAGES if any(b.run in ("quick", "long") for b in blocks_of(page))
]


@pytest.mark.parametrize("page", PAGES_THAT_RUN, ids=lambda page: page.stem)
def test_quick_commands_run(page, tmp_path):
    run_blocks(page, ("quick",), tmp_path / "run")


@pytest.fixture(scope="session")
def long_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("long") / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    sorted(PAGES_THAT_RUN, key=lambda page: page.stem != "scratch"),  # it makes runs/tiny
    ids=lambda page: page.stem,
)
def test_long_commands_run(page, long_folder):
    run_blocks(page, ("quick", "long"), long_folder)
