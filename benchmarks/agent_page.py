"""Runs the agent on a few questions with the real 0.5B model; transcripts go into docs/agent.md.

    python benchmarks/agent_page.py --write-docs

Greedy; every run is shown as it came, failures too.
"""

import argparse
import io
import tempfile
from collections import Counter
from pathlib import Path

from results import ROOT, provenance, write_section

from openqwen.agent.config import AgentConfig
from openqwen.agent.models import LocalModel
from openqwen.agent.terminal import Terminal
from openqwen.agent.toolbox.catalogue import open_tools
from openqwen.core.intervals import share_interval
from openqwen.infer.catalogue import fetch_named
from openqwen.infer.load import load

PAGE = ROOT / "docs" / "agent.md"
COMMAND = "python benchmarks/agent_page.py --write-docs"
NOTES = {
    "trip.md": "# Trip\n\nThe train to Lisbon leaves at 08:15 from platform 4.\n\n"
    "Hotel Aurora, 3 nights, 240 euro.\n",
    "机器学习.txt": "机器学习是人工智能的一个分支。\n深度学习使用多层神经网络。\n",
}
# tools, form, question, what a right answer holds
QUESTIONS = (
    ("calculator", "react", "What is 17 * 23 + 4?", "395"),
    ("calculator", "react", "小明有 128 元，买了 3 本书，每本 27.5 元，还剩多少元？", "45.5"),
    ("search", "react", "From which platform does the train to Lisbon leave?", "platform 4"),
    ("search", "react", "我的笔记里说深度学习使用什么？", "神经网络"),
    ("files", "react", "How much is the hotel in trip.md?", "240"),
    ("python", "react", "What is the sum of the primes below 30?", "129"),
    ("calculator", "tool_call", "What is 17 * 23 + 4?", "395"),
    ("search", "tool_call", "From which platform does the train to Lisbon leave?", "platform 4"),
    ("python", "tool_call", "What is the sum of the primes below 30?", "129"),
    ("calculator,search", "react", "Who are you?", ""),
)
SHOWN = (0, 2, 5, 6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-docs", action="store_true")
    args = parser.parse_args()
    model = LocalModel(load(fetch_named("qwen2.5-coder-0.5b", "packages")), "qwen2.5-coder-0.5b")
    rows, shown, reasons, num_right, num_asked = [], [], Counter(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        for name, text in NOTES.items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        for i, (tools, form, question, right) in enumerate(QUESTIONS):
            trace, said = ask(model, tools.split(","), Path(folder), form, question)
            print(said, flush=True)
            reasons[trace.reason] += 1
            is_right = bool(right) and right in trace.answer
            num_right += is_right
            num_asked += bool(right)
            called = Counter("malformed" if c["problem"] else c["name"] for c in trace.calls())
            calls = ", ".join(f"{name} × {n}" for name, n in called.items()) or "none"
            mark = ("yes" if is_right else "no") if right else "–"
            rows.append(
                f"| {question} | {form} | {calls} | {trace.reason} | {mark} "
                f"| {trace.num_new_tokens} | {trace.seconds:.1f} |"
            )
            if i in SHOWN:
                options = f'--tools {tools} --form {form} --ask "{question}"'
                shown.append(f"`{options}`\n\n````\n{said.strip()}\n````")
    low, high = share_interval(num_right, num_asked)
    summary = (
        f"{num_right} of {num_asked} right (95 % interval {100 * low:.0f} to {100 * high:.0f} %), "
        "greedy, seed 0, at most 6 steps of 300 tokens, one tool's set at a time. Ends: "
        + ", ".join(f"{reason} {n}" for reason, n in reasons.most_common())
    )
    body = "\n".join(
        [
            provenance(COMMAND), "", summary + ".", "",
            "| question | form | calls | ended by | right | new tokens | seconds |",
            "|---|---|---|---|---|---|---|", *rows, "", *("\n\n".join(shown)).split("\n"),
        ]
    )  # fmt: skip
    if args.write_docs:
        write_section(PAGE, "agent_page", "Seen with the real 0.5B model", body)
    else:
        print(body)


def ask(model, tools, folder, form, question):
    """Return the trace and what a user sees."""
    config = AgentConfig(form=form, max_steps=6, max_new_tokens=300)
    stdout = io.StringIO()
    with open_tools(tools, folder) as opened:
        terminal = Terminal(model, opened, config, stdin=io.StringIO(), stdout=stdout)
        trace = terminal.ask(question)
    return trace, stdout.getvalue()


if __name__ == "__main__":
    main()
