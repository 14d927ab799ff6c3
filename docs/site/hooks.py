"""What the site has besides its pages: the README as its home, references made of the code.

mkdocs calls `on_files`. Nothing of it is kept, so nothing of it can be out of date.
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from openqwen.cli.main import build_parser
from openqwen.core.config import to_plain
from openqwen.recipes.recipe import Recipe
from openqwen.recipes.resolve import resolve

ROOT = Path(__file__).parent.parent.parent
SHOWN = ("tiny", "qwen-7b")
MODULES = {
    "Loading and generation": (
        "openqwen.infer.load.load",
        "openqwen.infer.language_model.LanguageModel",
        "openqwen.infer.engine.Engine",
        "openqwen.infer.config",
        "openqwen.infer.request.Request",
        "openqwen.infer.request.Result",
        "openqwen.infer.session.Session",
        "openqwen.infer.constraint.Constraint",
        "openqwen.infer.grammar.Grammars",
        "openqwen.infer.adapters",
    ),
    "Tokenizer": ("openqwen.tokenizer.tokenizer.Tokenizer", "openqwen.tokenizer.chatml"),
    "Model": (
        "openqwen.model.config",
        "openqwen.model.decoder",
        "openqwen.model.long_context",
        "openqwen.model.rope",
        "openqwen.model.adapters",
    ),
    "Training": (
        "openqwen.train.losses",
        "openqwen.train.config",
        "openqwen.train.sft_config",
        "openqwen.train.reward_config",
        "openqwen.train.ppo_config",
    ),
    "Agents": (
        "openqwen.agent.models",
        "openqwen.agent.tools",
        "openqwen.agent.loop",
        "openqwen.agent.functions",
    ),
    "Evaluation": ("openqwen.eval.results", "openqwen.eval.scoring.scorer"),
    "Serving": ("openqwen.serve.app", "openqwen.serve.config", "openqwen.serve.service"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made of other things."""
    made = {
        "index.md": home(),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "reference/commands.md": commands(),
        "reference/recipes.md": recipes(),
        "reference/python.md": python(),
    }
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def home() -> str:
    """Return the README with its links as the site has them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"\]\(docs/", "](", text)
    return text.replace("](CHANGELOG.md)", "](changelog.md)")


def commands() -> str:
    """Return the manual of every verb and action."""
    parts = ["# Commands\n\nWhat `openqwen VERB --help` prints, for every verb.\n"]
    for path, parser in parsers_below(build_parser()):
        level = "#" * (len(path) + 1)
        parts.append(f"{level} openqwen {' '.join(path)}\n\n```text\n{parser.format_help()}```\n")
    return "\n".join(parts)


def parsers_below(
    parser: argparse.ArgumentParser, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], argparse.ArgumentParser]]:
    """Yield path and parser of every verb and action."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield (*path, name), inner
                yield from parsers_below(inner, (*path, name))


def recipes() -> str:
    """Return every setting of a recipe: its type, its value in two recipes, its meaning."""
    values = [to_plain(resolve(name, []).recipe) for name in SHOWN]
    parts = [
        "# Recipes\n\nEvery setting, from the configuration classes. `openqwen recipe show tiny` "
        "prints a recipe with all values; `--set base.num_steps=200` changes one. A section's name "
        "is its stage's, with `_` for `-`. A meaning cites its section of the report where the "
        "report gives the value.\n"
    ]
    for name, field in Recipe.model_fields.items():
        if not isinstance(field.default, BaseModel):
            continue
        parts.append(f"## {name}\n\n{cell(field.description)}\n")
        parts.append(f"| setting | meaning | {' | '.join(SHOWN)} | type |\n|---|---|---|---|---|")
        own = [value[name] for value in values]
        parts += settings_of(type(field.default), "", own)
        parts.append("")
    return "\n".join(parts)


def settings_of(cls: type[BaseModel], prefix: str, values: list[Any]) -> Iterator[str]:
    """Yield a row for each setting of a class, those of its parts after their names."""
    for name, field in cls.model_fields.items():
        own = [value[name] if isinstance(value, dict) else None for value in values]
        if isinstance(field.default, BaseModel):
            yield from settings_of(type(field.default), f"{prefix}{name}.", own)
            continue
        bounds = ", ".join(bound_of(each) for each in field.metadata)
        kind = getattr(field.annotation, "__name__", None) or str(field.annotation)
        kind = str(field.annotation) if "[" in str(field.annotation) else kind
        kind = re.sub(r"(\w+\.)+(\w+)", r"\2", kind) + (f"; {bounds}" if bounds else "")
        shown = " | ".join(cell(short(value)) for value in own)
        yield f"| `{prefix}{name}` | {cell(field.description)} | {shown} | {cell(kind)} |"


def bound_of(constraint: Any) -> str:
    """Return a bound as a sign and its value."""
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥"}
    found = [
        f"{sign} {getattr(constraint, name)}"
        for name, sign in signs.items()
        if hasattr(constraint, name)
    ]
    return " ".join(found) or type(constraint).__name__


def short(value: Any) -> str:
    """Return a value as a table shows it."""
    text = str(value)
    return text if len(text) <= 40 else text[:37] + "…"


def cell(text: Any) -> str:
    """Return a text that stays within its cell of a table."""
    escaped = str(text or "").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
    return escaped.replace("*", "\\*")


def python() -> str:
    """Return the page that mkdocstrings fills from the docstrings, without importing anything."""
    parts = [
        "# Python\n\nWhat is meant to be used from a program, by room. "
        "`import openqwen` binds `load`, `LanguageModel` and `Tokenizer` and loads nothing; torch "
        "comes with the first use.\n"
    ]
    for room, names in MODULES.items():
        parts.append(f"## {room}\n")
        parts += [f"::: {name}\n" for name in names]
    return "\n".join(parts)
