"""The documentation site is built whole and asks for nothing from outside."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
OUTSIDE = re.compile(r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)=\"https?://[^\"]+\"")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material")
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(out)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return out


def test_no_page_loads_anything_from_another_place(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 40
    for page in pages:
        found = OUTSIDE.search(page.read_text(encoding="utf-8"))
        assert found is None, f"{page.name}: {found.group(0)}"


def test_references_hold_what_the_code_has(site):
    recipes = (site / "reference" / "recipes.html").read_text(encoding="utf-8")
    assert "learning_rate" in recipes
    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert "openqwen data dedup" in commands
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert "openqwen.infer.language_model.LanguageModel" in python


def test_every_page_of_the_docs_is_in_the_navigation():
    listed = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").as_posix()
        assert name in listed, f"{name} is in no place of mkdocs.yml's nav"
