"""Lines of the catalogue: measures of our own, which ask the model themselves."""

from openqwen.eval.tasks.info import TaskInfo

TASKS: dict[str, TaskInfo] = {
    line.name: line
    for line in (
        TaskInfo(
            name="tools",
            about="the right tool, its input, and no tool where none is needed (Table 6)",
            suites=("tools", "report"),
            build="openqwen.eval.tool_use.measure:measure",
            kind="measure",
            files="BFCL_*.json of the function-calling benchmark, or a file of Qwen's form",
        ),
        TaskInfo(
            name="hf_agent",
            about="programs over a set of tools, run and chat mode (Table 9)",
            suites=("tools", "report"),
            build="openqwen.eval.hf_agent.measure:measure",
            kind="measure",
            files="evaluate_agent.py of transformers 4.37.2, fetched from PyPI",
        ),
        TaskInfo(
            name="interpreter",
            about="code that runs, and is right, in an interpreter (Tables 7 and 8); tasks of ours",
            suites=("tools", "report"),
            build="openqwen.eval.interpreter.measure:measure",
            kind="measure",
        ),
        TaskInfo(
            name="safety",
            about="refusals of harmful requests, answers to harmless ones, two languages; ours",
            suites=("chat", "report"),
            build="openqwen.eval.safety.measure:measure",
            kind="measure",
        ),
        TaskInfo(
            name="perplexity",
            about="log-likelihood by length of the context, on long texts (Table 3)",
            suites=("report",),
            build="openqwen.eval.length_measure:measure",
            kind="measure",
            files="*.dev.jsonl: long documents, a field text a row",
        ),
    )
}
