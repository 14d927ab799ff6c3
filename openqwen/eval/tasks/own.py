"""Lines of the catalogue: measures of our own, which ask the model themselves."""

from openqwen.eval.tasks.info import TaskInfo

_TABLE_6 = {
    "Qwen-Chat-7B": {"value": 98, "source": "Qwen Technical Report, Table 6"},
    "Qwen-Chat-14B": {"value": 98, "source": "Qwen Technical Report, Table 6"},
}
_TABLE_7 = {
    "Qwen-Chat-7B": {"value": 70.2, "source": "Qwen Technical Report, Table 7; other tasks"},
    "Qwen-Chat-14B": {"value": 81.7, "source": "Qwen Technical Report, Table 7; other tasks"},
}
_TABLE_9 = {
    "Qwen-Chat-7B": {"value": 87.0, "source": "Qwen Technical Report, Table 9, run mode"},
    "Qwen-Chat-14B": {"value": 93.5, "source": "Qwen Technical Report, Table 9, run mode"},
}

TASKS = {
    line.name: line
    for line in (
        TaskInfo(
            name="tools",
            about="the right tool, its input, and no tool where none is needed (Table 6)",
            suites=("tools", "report"),
            build="openqwen.eval.tool_use.measure:measure",
            kind="measure",
            main_metric="tool_selection",
            files="BFCL_*.json of the function-calling benchmark, or a file of Qwen's form",
            published=_TABLE_6,
        ),
        TaskInfo(
            name="hf_agent",
            about="programs over a set of tools, run and chat mode (Table 9)",
            suites=("tools", "report"),
            build="openqwen.eval.hf_agent.measure:measure",
            kind="measure",
            main_metric="tool_selection",
            files="evaluate_agent.py of transformers 4.37.2, fetched from PyPI",
            published=_TABLE_9,
        ),
        TaskInfo(
            name="interpreter",
            about="code that runs, and is right, in an interpreter (Tables 7 and 8); tasks of ours",
            suites=("tools", "report"),
            build="openqwen.eval.interpreter.measure:measure",
            kind="measure",
            main_metric="executable",
            published=_TABLE_7,
        ),
        TaskInfo(
            name="safety",
            about="refusals of harmful requests, answers to harmless ones, two languages; ours",
            suites=("chat", "report"),
            build="openqwen.eval.safety.measure:measure",
            kind="measure",
            main_metric="refusal",
        ),
        TaskInfo(
            name="perplexity",
            about="log-likelihood by length of the context, on long texts (Table 3)",
            suites=("report",),
            build="openqwen.eval.length_measure:measure",
            kind="measure",
            main_metric="nats a token",
            files="*.dev.jsonl: long documents, a field text a row",
        ),
    )
}
