"""Typed, immutable settings whose every value knows what it means and where it comes from.

class PretrainConfig(Config):
    learning_rate: float = setting(3e-4, "peak learning rate", source="Table 1", gt=0)

config = parse_config(PretrainConfig, {"learning_rat": 1e-3}, where="my.toml")
# UserError: my.toml: learning_rat is not a setting; did you mean learning_rate? ...
"""

import difflib
import hashlib
import json
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from openqwen.core.errors import UserError

ConfigT = TypeVar("ConfigT", bound="Config")
Share = Annotated[float, Field(ge=0, le=1)]


class Config(BaseModel):
    """Base of all settings: frozen, no unknown keys, defaults are checked too."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    how_only: ClassVar[frozenset[str]] = frozenset()
    """Fields that say how the work is done, not what comes out: no part of a stage's identity."""


def setting(
    default: Any, meaning: str, *, source: str = "ours", report: Any = None, **limits: Any
) -> Any:
    """Declare one setting: its default, one line of meaning, and the source of the default.

    Args:
        default: the value when nobody says otherwise.
        meaning: one line, units included.
        source: where the default comes from: a report section ("§2.4"), "memo", "code" or "ours".
        report: the report's own value where it differs from the default, for printing beside it.
        limits: pydantic's `gt`, `ge`, `lt`, `le`, `min_length`, `pattern` …
    """
    extra = {"source": source} | ({"report": report} if report is not None else {})
    return Field(default, description=meaning, json_schema_extra=extra, **limits)


def to_plain(config: Config) -> dict[str, Any]:
    """Return the settings as JSON types: tuples become lists, what is not set is left out."""
    plain: dict[str, Any] = json.loads(config.model_dump_json(exclude_none=True))
    return plain


def to_identity(config: Config) -> dict[str, Any]:
    """Return the settings that decide what comes out, as JSON types."""
    return {name: x for name, x in to_plain(config).items() if name not in config.how_only}


def config_hash(config: Config) -> str:
    """Return the sha256 of the settings, independent of key order."""
    return hashlib.sha256(
        json.dumps(to_plain(config), sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()


def parse_config(
    cls: type[ConfigT], data: dict[str, Any], *, where: str, hint: str = ""
) -> ConfigT:
    """Build `cls` from plain data; types are checked strictly (the text "5" is not a number).

    Args:
        cls: the settings class.
        data: nested dictionaries, lists and scalars, as TOML gives them.
        where: what the data came from (a file name, "--set"), opens the error line.
        hint: appended to an unknown-key error, such as the command that lists the keys.

    Raises:
        UserError: one line naming the first bad key, its value and what would be right.
    """
    try:
        return cls.model_validate_json(json.dumps(data), strict=True)
    except ValidationError as error:
        raise UserError(f"{where}: {_explain(cls, error, hint)}") from None
    except (TypeError, ValueError) as error:  # dates and the like have no JSON form
        raise UserError(f"{where}: {error}") from None


def _explain(cls: type[Config], error: ValidationError, hint: str) -> str:
    """Turn pydantic's first complaint into one line."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(path[-1], _fields_at(cls, path[:-1]), n=1, cutoff=0.5)
        guess = "; did you mean " + ".".join([*path[:-1], near[0]]) + "?" if near else "."
        return f"{key} is not a setting{guess}" + (f" ({hint})" if hint else "")
    if first["type"] == "value_error":
        text = first["msg"].removeprefix("Value error, ")
        return f"{key}: {text}" if key else text
    value = json.dumps(first["input"], ensure_ascii=False, default=str)
    return f"{key} = {value[:80]} is not valid: {first['msg'][0].lower()}{first['msg'][1:]}"


def _fields_at(cls: type[BaseModel], path: list[str]) -> list[str]:
    """Return the field names of the settings class found by walking `path` from `cls`."""
    for part in path:
        field = cls.model_fields.get(part)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        cls = annotation
    return list(cls.model_fields)
