import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import pytest
from small_run import write_run

from openqwen.report.page import write_report


@pytest.fixture(scope="session")
def full_run(tmp_path_factory):
    """A run with every stage and its report; not to be changed."""
    run = write_run(tmp_path_factory.mktemp("full") / "run")
    counts = write_report(run, run / "report")
    return run, counts


@dataclass
class Read:
    """What an HTML page holds, as a browser would read it."""

    tables: list = field(default_factory=list)  # of rows of cells
    tags: list = field(default_factory=list)  # (tag, attributes)
    text: str = ""


class Reader(HTMLParser):
    def __init__(self):
        super().__init__()
        self.read = Read()
        self.cell = None
        self.skips = 0

    def handle_starttag(self, tag, attributes):
        self.read.tags.append((tag, dict(attributes)))
        if tag in ("style", "script"):
            self.skips += 1
        if tag == "table":
            self.read.tables.append([])
        elif tag == "tr":
            self.read.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = ""

    def handle_startendtag(self, tag, attributes):
        self.read.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in ("style", "script"):
            self.skips -= 1
        if tag in ("td", "th"):
            self.read.tables[-1][-1].append(self.cell)
            self.cell = None

    def handle_data(self, data):
        if self.skips:
            return
        self.read.text += data
        if self.cell is not None:
            self.cell += data


@pytest.fixture(scope="session")
def read_html():
    def read(path):
        reader = Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        return reader.read

    return read


@pytest.fixture(scope="session")
def read_markdown_tables():
    """Return the tables of a Markdown page, cells as a reader sees them."""

    def plain(cell):
        shown = re.sub(r"\\(.)", r"\1", cell.strip())
        return shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")

    def read(path):
        tables, is_open = [], False
        for line in path.read_text(encoding="utf-8").splitlines():
            if not line.startswith("|"):
                is_open = False
                continue
            if not is_open:
                tables.append([])
                is_open = True
            if not re.fullmatch(r"\|[-:|]+\|", line):
                cells = re.split(r"(?<!\\)\|", line)[1:-1]
                tables[-1].append([plain(cell) for cell in cells])
        return tables

    return read
