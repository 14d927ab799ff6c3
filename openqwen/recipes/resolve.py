"""From a recipe's name or file and `--set` to one checked recipe that knows its values' origins.

resolved = resolve("tiny", ["base.num_steps=200"])
resolved.recipe.base.num_steps            # 200
resolved.origins["base.num_steps"]        # "--set"
"""

import copy
import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openqwen.core.config import Config, parse_config, to_plain
from openqwen.core.errors import UserError
from openqwen.recipes import BUILTIN
from openqwen.recipes.recipe import Recipe

DEFAULT_PARENT = "tiny"


@dataclass(frozen=True)
class Resolved:
    """A complete recipe; `origins` maps each dotted key to who set it ("" for the default)."""

    recipe: Recipe
    origins: dict[str, str]


def resolve(name_or_file: str, assignments: list[str] | None = None) -> Resolved:
    """Resolve a built-in name or a TOML file, then apply `key=value` assignments.

    A file starts from the recipe its key `extends` names (tiny where it has none) and changes what
    it lists.

    Raises:
        UserError: unknown recipe, unreadable file, unknown key, wrong type, impossible combination.
    """
    if name_or_file.endswith(".toml"):
        data = _read_toml(Path(name_or_file))
        parent = data.pop("extends", DEFAULT_PARENT)
        data.setdefault("name", Path(name_or_file).stem)
        merged, origins = _builtin(parent, f"{name_or_file}: extends")
        _merge(merged, data, origins, name_or_file)
        where = name_or_file
    else:
        merged, origins = _builtin(name_or_file, "recipe")
        where = "recipe " + name_or_file
    hint = f"openqwen recipe show {merged['name'] if merged['name'] in BUILTIN else DEFAULT_PARENT}"
    hint += " lists them"
    if name_or_file.endswith(".toml"):
        parse_config(Recipe, merged, where=where, hint=hint)  # the file's own errors, by its name
    for assignment in assignments or []:
        path, value = _parse_assignment(assignment)
        nested: Any = value
        for part in reversed(path):
            nested = {part: nested}
        _merge(merged, nested, origins, "--set")
        where = "--set"
    recipe = parse_config(Recipe, merged, where=where, hint=hint)
    return Resolved(recipe, origins)


def _builtin(name: str, where: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a built-in recipe's plain data and the origins of the values it sets itself."""
    if not isinstance(name, str) or name not in BUILTIN:
        near = difflib.get_close_matches(str(name), BUILTIN, n=1)
        guess = f"; did you mean {near[0]}?" if near else ""
        raise UserError(
            f"{where} {name!r}: no such recipe{guess} Built in: {', '.join(BUILTIN)}; a file's "
            "name ends in .toml"
        )
    recipe = BUILTIN[name]()
    origins: dict[str, str] = {}
    _note_set_fields(recipe, "", f"recipe {name}", origins)
    return to_plain(recipe), origins


def _note_set_fields(config: Config, prefix: str, origin: str, origins: dict[str, str]) -> None:
    for field in config.model_fields_set:
        value = getattr(config, field)
        if isinstance(value, Config):
            _note_set_fields(value, f"{prefix}{field}.", origin, origins)
        elif value != type(config).model_fields[field].default:
            origins[prefix + field] = origin


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path} is not readable TOML: {error}") from None


def _parse_assignment(text: str) -> tuple[list[str], Any]:
    """Split `a.b=value`; the value is TOML, or plain text where it isn't."""
    key, equals, value = text.partition("=")
    path = [part.strip() for part in key.split(".")]
    if not equals or not all(path):
        raise UserError(f"--set {text}: write it as section.setting=value")
    try:
        return path, tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return path, value


def _merge(
    into: dict[str, Any], data: dict[str, Any], origins: dict[str, str], origin: str
) -> None:
    """Lay `data` over `into`; a table of free keys (weights) is replaced whole, not merged."""
    _merge_section(into, data, origins, origin, Recipe, "")


def _merge_section(
    into: dict[str, Any],
    data: dict[str, Any],
    origins: dict[str, str],
    origin: str,
    cls: type[Config],
    prefix: str,
) -> None:
    for key, value in data.items():
        field = cls.model_fields.get(key)
        inner = field.annotation if field else None
        if isinstance(inner, type) and issubclass(inner, Config) and isinstance(value, dict):
            _merge_section(into[key], value, origins, origin, inner, f"{prefix}{key}.")
            continue
        if into.get(key) != value:
            origins[prefix + key] = origin
        into[key] = copy.deepcopy(value)
