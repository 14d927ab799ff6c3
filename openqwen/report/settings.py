"""A stage's settings as a folded table: value, meaning and where the default comes from."""

from typing import Any

from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from openqwen.core.config import Config
from openqwen.recipes.recipe import Recipe
from openqwen.report.content import Details, Row, Table
from openqwen.report.formatting import literal
from openqwen.report.run_facts import StageFacts


def settings_details(stage: StageFacts) -> Details:
    """Return every setting that the stage's manifest records."""
    assert stage.manifest is not None
    section = stage.kind.name.replace("-", "_")
    field = Recipe.model_fields.get(section)
    rows = _rows(stage.manifest.settings, _section_class(field), "")
    table = Table(
        f"Settings of {stage.kind.name} ({section}.* in a recipe)",
        ("setting", "value", "meaning", "default (source)"),
        rows,
        text_columns=4,
    )
    return Details(f"Settings ({len(rows)})", [table])


def _rows(settings: dict[str, Any], cls: type[Config] | None, prefix: str) -> list[Row]:
    """Return a row a setting, inner sections flattened with dots."""
    rows: list[Row] = []
    for name, value in settings.items():
        field = cls.model_fields.get(name) if cls else None
        inner = _section_class(field)
        if inner is not None and isinstance(value, dict):
            rows += _rows(value, inner, f"{prefix}{name}.")
            continue
        meaning = (field.description or "") if field else ""
        rows.append(Row((prefix + name, literal(value), meaning, _default(field, value))))
    return rows


def _default(field: FieldInfo | None, value: Any) -> str:
    """Return a setting's default, "same" where it was kept, and where the default comes from."""
    if field is None:
        return ""
    extra = field.json_schema_extra
    source = str(extra.get("source", "ours")) if isinstance(extra, dict) else "ours"
    default = to_jsonable_python(field.default, exclude_none=True)  # tuples are lists in a manifest
    return f"{'same' if default == value else literal(default)} ({source})"


def _section_class(field: FieldInfo | None) -> type[Config] | None:
    annotation = field.annotation if field else None
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return annotation
    return None
