"""A run's report: one self-contained HTML page and its Markdown twin, from what has finished.

    counts = write_report(Path("runs/tiny"), Path("runs/tiny/report"))
    # out/report.html, out/report.md, out/plots/*.png

Equal inputs give equal bytes.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from openqwen.core.errors import UserError
from openqwen.core.files import atomic_path, write_text
from openqwen.report.content import (
    BarPlot,
    Block,
    GridPlot,
    LinePlot,
    Page,
    Picture,
    Section,
    Table,
    Text,
)
from openqwen.report.content import walk as walk_blocks
from openqwen.report.figures import render_png
from openqwen.report.html_page import render_html
from openqwen.report.markdown_page import PLOTS_NAME, render_markdown
from openqwen.report.run_facts import RunFacts, StageFacts, read_run
from openqwen.report.sections import (
    base,
    chat,
    chat_rlhf,
    code,
    code_chat,
    documents,
    evaluation,
    longcontext,
    math_chat,
    scorers,
    shards,
    sources,
    tokenizer,
)
from openqwen.report.sections.ending import ending
from openqwen.report.sections.overview import overview
from openqwen.report.settings import settings_details

HTML_NAME, MARKDOWN_NAME = "report.html", "report.md"

Headline = Callable[[StageFacts], list[str]]
Blocks = Callable[[StageFacts, RunFacts], list[Block]]
SECTIONS: dict[str, tuple[Headline, Blocks]] = {
    "sources": (sources.headline, sources.blocks),
    "documents": (documents.headline, documents.blocks),
    "tokenizer": (tokenizer.headline, tokenizer.blocks),
    "shards": (shards.headline, shards.blocks),
    "base": (base.headline, base.blocks),
    "longcontext": (longcontext.headline, longcontext.blocks),
    "chat": (chat.headline, chat.blocks),
    "preference": (scorers.headline, scorers.preference_blocks),
    "reward": (scorers.headline, scorers.reward_blocks),
    "chat-rlhf": (chat_rlhf.headline, chat_rlhf.blocks),
    "code": (code.headline, code.blocks),
    "code-chat": (code_chat.headline, code_chat.blocks),
    "math-chat": (math_chat.headline, math_chat.blocks),
    "evaluation": (evaluation.headline, evaluation.blocks),
}


def write_report(run_directory: Path, out: Path, *, title: str = "") -> dict[str, Any]:
    """Write the pages of a run from whatever stages have finished; the others are named.

    Args:
        run_directory: holds a directory a stage.
        out: directory for `report.html`, `report.md` and `plots/`; made if missing.
        title: heading; empty for what the run's recipe sets, or the recipe's name.

    Returns:
        Counts for the manifest: sections, tables, plots, and bytes of all files.

    Raises:
        UserError: if no stage has finished, or a finished one lacks a file that it wrote.
    """
    page = build_page(read_run(run_directory, out), title=title)
    blocks = [block for section in page.sections for block in walk_blocks(section.blocks)]
    write_text(out / HTML_NAME, render_html(page))
    write_text(out / MARKDOWN_NAME, render_markdown(page))
    written = [out / HTML_NAME, out / MARKDOWN_NAME]
    for block in blocks:
        if isinstance(block, LinePlot | BarPlot | GridPlot):
            path = out / PLOTS_NAME / f"{block.name}.png"
            with atomic_path(path) as temporary:
                temporary.write_bytes(render_png(block))
            written.append(path)
        elif isinstance(block, Picture):
            path = out / PLOTS_NAME / f"{block.name}.svg"
            write_text(path, block.standalone_svg + "\n")
            written.append(path)
    return {
        "sections": len(page.sections),
        "tables": sum(isinstance(block, Table) for block in blocks),
        "plots": sum(isinstance(block, LinePlot | BarPlot | GridPlot) for block in blocks),
        "bytes": sum(path.stat().st_size for path in written),
    }


def build_page(run: RunFacts, *, title: str = "") -> Page:
    """Return the page's content, whatever it will be written as."""
    headlines = {}
    for stage in run.done:
        if stage.kind.name in SECTIONS:
            with _known_form(stage):
                headlines[stage.kind.name] = SECTIONS[stage.kind.name][0](stage)
    sections = [overview(run, headlines)]
    sections += [_stage_section(stage, run) for stage in run.stages if stage.kind.name in SECTIONS]
    sections.append(ending(run))
    name = run.recipe or "an unnamed recipe"
    return Page(
        title=title or run.title or f"openqwen: {name}",
        subtitle=f"Report of a run of the recipe “{name}”",
        intro=_intro(run),
        sections=sections,
    )


def _intro(run: RunFacts) -> list[str]:
    missing = [stage.kind.name for stage in run.stages if stage.in_recipe and not stage.is_done]
    texts = [
        "openqwen builds what the Qwen Technical Report (arXiv 2309.16609) describes, from raw web "
        "pages to a language model, at any size. This page shows what one run made, stage by stage "
        "in the order they ran: tables, plots, settings, time and memory. All numbers are read "
        "from the run's files.",
        "Section signs (§) and table numbers are the report's. Where the report measured the same "
        "thing, its numbers stand beside this run's.",
    ]
    if missing:
        texts.append(f"Not finished yet, and so not shown: {', '.join(missing)}.")
    return texts


def _stage_section(stage: StageFacts, run: RunFacts) -> Section:
    blocks: list[Block] = []
    if stage.manifest is not None:
        problems = [
            problem.replace(f"{stage.directory.parent}/", "")
            for problem in stage.manifest.problems(stage.directory)
        ]
        blocks += [Text(f"Changed since it was written: {problem}.") for problem in problems]
        with _known_form(stage):
            blocks += SECTIONS[stage.kind.name][1](stage, run)
        blocks.append(settings_details(stage))
    return Section(
        stage.kind.name,
        stage.kind.title,
        stage.kind.source,
        stage.kind.meaning,
        stage.line(),
        blocks,
    )


@contextlib.contextmanager
def _known_form(stage: StageFacts) -> Iterator[None]:
    """Turn a value missing from a stage's files into a line for the user."""
    try:
        yield
    except KeyError as error:
        raise UserError(
            f"{stage.directory}: its files lack {error}, which this version of openqwen writes; "
            "run the stage again"
        ) from error
