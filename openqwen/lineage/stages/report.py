"""The report stage: one page with every table and plot of the run."""

from typing import Any

from openqwen.lineage.stage import StageWork
from openqwen.report.config import ReportConfig
from openqwen.report.page import write_report


def run(work: StageWork) -> dict[str, Any]:
    """Write the HTML page and its Markdown twin from the other stages' directories."""
    assert isinstance(work.config, ReportConfig)
    return write_report(work.inputs["base"].parent, work.out, title=work.config.title)
