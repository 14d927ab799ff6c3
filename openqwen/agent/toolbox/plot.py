"""A plot of numbers: matplotlib draws it inside the sandbox, the model gets its file's name.

    plot_tool().call({"kind": "line", "x": [1, 2, 3], "y": [1, 4, 9]})   # files: plot.png

The numbers travel as JSON; what runs is a program of ours, never text of the model's.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from openqwen.agent.interpreter.fonts import cjk_font, matplotlib_settings
from openqwen.agent.sandbox.config import SandboxConfig
from openqwen.agent.tools import Tool, ToolError, ToolResult, tool

MAX_POINTS = 10_000
LIMITS = SandboxConfig(timeout_s=30, cpu_s=30, memory_mb=1024, max_file_bytes=8_000_000)
_PROGRAM = """\
import json
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

with open("data.json", encoding="utf-8") as file:
    data = json.load(file)
figure, axes = plt.subplots(figsize=(6, 4), dpi=120)
x, y = data["x"], data["y"]
if data["kind"] == "bar":
    axes.bar([str(each) for each in x], y)
elif data["kind"] == "hist":
    axes.hist(y, bins="auto")
elif data["kind"] == "scatter":
    axes.scatter(x, y, s=18)
else:
    axes.plot(x, y, marker="o" if len(y) <= 40 else None)
axes.set_title(data["title"].replace("$", r"\\$"))
axes.set_xlabel(data["xlabel"].replace("$", r"\\$"))
axes.set_ylabel(data["ylabel"].replace("$", r"\\$"))
figure.tight_layout()
figure.savefig("plot.png")
"""


class PlotError(ToolError):
    """Numbers that can't be drawn: one line for the model."""


def plot_tool(limits: SandboxConfig = LIMITS) -> Tool:
    """Return the tool `plot`; it draws inside a sandbox with these limits."""

    def plot(
        kind: Literal["line", "bar", "scatter", "hist"],
        y: Annotated[list[float], "the values; of a histogram all of them"],
        x: Annotated[
            list[float] | list[str] | None, "where each value stands; left out: 1, 2, 3 …"
        ] = None,
        title: str = "",
        xlabel: str = "",
        ylabel: str = "",
    ) -> ToolResult:
        """Draw a plot of numbers as an image file."""
        places: list[float] | list[str] = x or [float(i) for i in range(1, len(y) + 1)]
        if not y or len(y) > MAX_POINTS:
            raise PlotError(f"y must have 1 to {MAX_POINTS:,} values, got {len(y):,}")
        if len(places) != len(y) and kind != "hist":
            raise PlotError(f"x has {len(places)} values and y has {len(y)}: give as many")
        data = {"kind": kind, "x": places, "y": y}
        png = draw(data | {"title": title, "xlabel": xlabel, "ylabel": ylabel}, limits)
        said = f"drawn: plot.png, a {kind} plot of {len(y)} values"
        words = f"{title}{xlabel}{ylabel}{''.join(map(str, places))}"
        if cjk_font() is None and any(ord(char) > 0x2E7F for char in words):
            said += "; this machine has no font with Chinese characters: they stand as boxes"
        return ToolResult(said, {"plot.png": png})

    return tool(plot)


def draw(data: Mapping[str, object], limits: SandboxConfig) -> bytes:
    """Return the PNG of a plot.

    Raises:
        PlotError: one line if the sandboxed program made none.
        UserError: if this machine can't isolate programs.
    """
    from openqwen.agent.sandbox.run import run_program

    files = {"data.json": json.dumps(data).encode(), "matplotlibrc": matplotlib_settings().encode()}
    verdict = run_program(_PROGRAM, limits, files=files, keep=["plot.png"])
    png = verdict.files.get("plot.png", b"")
    if verdict.status != "ok" or not png.startswith(b"\x89PNG"):
        said = verdict.stderr.strip().splitlines()[-1:] or [verdict.reason or verdict.status]
        raise PlotError(f"the plot could not be drawn ({verdict.status}): {said[0][:200]}")
    return png
