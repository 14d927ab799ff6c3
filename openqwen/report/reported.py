"""The numbers of the Qwen Technical Report, for printing beside ours.

reported()["table3_perplexity_arxiv"]["rows"]["Qwen-7B"]      # [4.23, 3.78, 39.35, …]
"""

from functools import cache
from pathlib import Path
from typing import Any

from openqwen.core.files import read_json

TABLES = Path(__file__).parent / "report_tables.json"


@cache
def reported() -> dict[str, Any]:
    """Return the report's tables by name; each holds columns and rows."""
    tables: dict[str, Any] = read_json(TABLES)
    return tables
