"""The report as one HTML page: style sheet and plots inside, no scripts, nothing from outside."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from openqwen.report.content import BarPlot, Block, GridPlot, LinePlot, Page, Picture
from openqwen.report.figures import render_svg
from openqwen.report.formatting import clean
from openqwen.report.palette import VARIABLES

HERE = Path(__file__).parent
TEMPLATE_NAME, STYLE_NAME = "page.html", "page.css"


def render_html(page: Page) -> str:
    """Return the whole page; every text of the run is escaped."""
    environment = Environment(
        loader=FileSystemLoader(HERE, encoding="utf-8"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    style = (HERE / STYLE_NAME).read_text(encoding="utf-8")
    text: str = environment.get_template(TEMPLATE_NAME).render(
        page=page,
        style=Markup(_light_values() + style),
        kind=lambda block: type(block).__name__,
        svg=_svg,
    )
    return text


def _svg(block: Block) -> Markup:
    """Return a drawing's markup: shapes of ours, with no text of the run but escaped."""
    if isinstance(block, LinePlot | BarPlot | GridPlot):
        return Markup(render_svg(block))
    assert isinstance(block, Picture)
    return Markup(block.svg)


def _light_values() -> str:
    """Return the light values of the plots' colours; the style sheet then has the dark ones."""
    values = " ".join(f"{name}: {color};" for color, name in VARIABLES.items())
    return f":root {{ {values} }}\n"


def _printable(value: Any) -> Any:
    return clean(value) if type(value) is str else value
