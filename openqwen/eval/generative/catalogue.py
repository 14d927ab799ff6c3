"""Lines of the catalogue for benchmarks whose answer is written: code, mathematics, BBH, Gaokao."""

from openqwen.eval.tasks.info import TaskInfo

_HERE = "openqwen.eval.generative"

TASKS: dict[str, TaskInfo] = {
    line.name: line
    for line in (
        TaskInfo(
            name="humaneval",
            about="Python functions to complete, judged by their tests (Chen et al. 2021)",
            suites=("base", "chat", "code", "report"),
            build=f"{_HERE}.human_eval:human_eval",
            main_metric="pass@1",
            files="HumanEval.jsonl.gz (task_id, prompt, entry_point, test)",
        ),
        TaskInfo(
            name="mbpp",
            about="small Python tasks in a sentence, with tests (Austin et al. 2021)",
            suites=("base", "code", "report"),
            build=f"{_HERE}.mbpp:mbpp",
            main_metric="pass@1",
            shots=3,
            files="mbpp.jsonl (task_id, text, test_list)",
        ),
    )
}
