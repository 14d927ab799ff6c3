"""The plan of the house, enforced: imports, sizes, no work at import, docs that name real paths."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "openqwen"
FILES = sorted(PACKAGE.rglob("*.py"))
EVERYTHING = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").is_file()}
CONFIG_ROOMS = {"agent", "data", "tokenizer", "train", "eval", "report", "model", "parallel"}

MAY_IMPORT = {
    "core": set(),
    "tokenizer": {"core"},
    "data": {"core", "tokenizer"},
    "model": {"core"},
    "parallel": {"core", "model"},
    "infer": {"core", "tokenizer", "model", "parallel"},
    "train": {"core", "tokenizer", "data", "model", "parallel"},
    "agent": {"core", "tokenizer", "data", "infer"},
    "eval": {"core", "tokenizer", "data", "model", "infer", "agent"},
    "serve": {"core", "tokenizer", "data", "infer", "agent", "eval"},
    "studies": EVERYTHING - {"cli", "lineage", "report", "serve"},
    "recipes": {"core"} | CONFIG_ROOMS,  # of these, config modules only
    "lineage": EVERYTHING - {"cli", "serve"},
    "report": EVERYTHING - {"cli", "lineage", "serve"},
    "cli": EVERYTHING,
}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def imported_modules(tree: ast.AST) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports name the whole path"
            names.append(node.module or "")
    return [name for name in names if name.startswith("openqwen.")]


def test_every_room_has_a_row_in_the_table():
    assert set(MAY_IMPORT) == EVERYTHING


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_a_file_keeps_to_the_plan(path):
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    here = room(path)
    assert source.count("\n") <= 400, "a file has at most 400 lines"
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = function.end_lineno - function.lineno + 1
            assert lines <= 60, f"{function.name} has {lines} lines, at most 60"
    if here:
        for name in imported_modules(tree):
            other = name.split(".")[1]
            allowed = other == here or other in MAY_IMPORT[here]
            allowed |= (path.parent.name, path.name, other) == ("train", "rollout.py", "infer")
            assert allowed, f"{here} may not import {name}"
            if here == "recipes" and other in CONFIG_ROOMS:
                assert name.endswith("config"), f"recipes import settings only, not {name}"
    if path != PACKAGE / "core" / "runtime.py":
        assert "os.environ" not in source, "environment variables are read in core/runtime.py"
        assert "getenv" not in source
    assert "import pickle" not in source
    assert path.stem not in ("utils", "common", "helpers")


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_importing_a_file_only_binds_names(path):
    """At module level stand imports, definitions, constants; no calls, loops or with-blocks."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant), f"line {node.lineno} does work at import"
        forbidden = ast.For | ast.While | ast.With | ast.Try | ast.Delete
        assert not isinstance(node, forbidden), f"line {node.lineno} does work at import"
        if isinstance(node, ast.If):
            guard = ast.unparse(node.test)
            assert guard in ("TYPE_CHECKING", "__name__ == '__main__'"), f"line {node.lineno}"


def test_settings_are_light_to_import():
    import subprocess
    import sys

    code = (
        "import sys, openqwen.recipes, openqwen.cli.main; openqwen.cli.main.build_parser();"
        "heavy = {'torch', 'pyarrow', 'matplotlib', 'numpy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("path", DOCS, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_path_the_docs_name_exists(path):
    text = path.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:openqwen|tests|benchmarks|docs|requirements)/[\w./-]+)`", text))
    named |= {
        link
        for link in re.findall(r"\]\(([^)#\s]+)", text)
        if not link.startswith(("http://", "https://", "mailto:"))
    }
    for name in named:
        found = (ROOT / name).exists() or (path.parent / name).exists()
        assert found, f"{path.name} names {name}, which does not exist"
