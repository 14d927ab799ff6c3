"""Lines of the catalogue for benchmarks whose answer is written: code, mathematics, BBH, Gaokao."""

from openqwen.eval.generative.published import published
from openqwen.eval.tasks.info import TaskInfo


def _line(
    name: str,
    about: str,
    build: str,
    files: str,
    *,
    main_metric: str,
    suites: tuple[str, ...] = ("report",),
    shots: int = 0,
    chat_shots: int = 0,
) -> TaskInfo:
    return TaskInfo(
        name=name,
        about=about,
        suites=suites,
        build=f"openqwen.eval.generative.{build}",
        main_metric=main_metric,
        shots=shots,
        chat_shots=chat_shots,
        files=files,
        published=published(name),
    )


TASKS: dict[str, TaskInfo] = {
    line.name: line
    for line in (
        _line(
            "gsm8k",
            "word problems of schools, the answer a number (Cobbe et al. 2021)",
            "arithmetic:gsm8k",
            "gsm8k_test.jsonl, or test.jsonl in a folder gsm8k (question, answer)",
            main_metric="exact_match,flexible-extract",
            suites=("base", "chat", "math", "report"),
            shots=8,
            chat_shots=8,
        ),
        _line(
            "math",
            "problems of competitions, the answer a formula (Hendrycks et al. 2021)",
            "mathematics:math",
            "MATH/test/SUBJECT/N.json, or math_test.jsonl (problem, level, type, solution)",
            main_metric="math_equal,flexible",
            suites=("base", "report"),
            shots=4,
        ),
        _line(
            "math500",
            "the 500 problems of MATH that Lightman et al. (2023) test on",
            "mathematics:math500",
            "math_500.jsonl, or math_splits/test.jsonl of PRM800K (problem, solution)",
            main_metric="math_equal,flexible",
            suites=("math", "report"),
            shots=4,
        ),
        _line(
            "math401",
            "arithmetic to three decimals (Yuan et al. 2023)",
            "arithmetic:math401",
            "math401.json (query, response)",
            main_metric="acc",
            suites=("math", "report"),
        ),
        _line(
            "math23k",
            "word problems of schools, Chinese (Wang et al. 2017)",
            "arithmetic:math23k",
            "math23k_test.json (original_text, ans)",
            main_metric="acc",
            suites=("math", "report"),
        ),
        _line(
            "humaneval",
            "Python functions to complete, judged by their tests (Chen et al. 2021)",
            "human_eval:human_eval",
            "HumanEval.jsonl.gz (task_id, prompt, entry_point, test)",
            main_metric="pass@1",
            suites=("base", "chat", "code", "report"),
        ),
        _line(
            "mbpp",
            "small Python tasks in a sentence, with tests (Austin et al. 2021)",
            "mbpp:mbpp",
            "mbpp.jsonl (task_id, text, test_list)",
            main_metric="pass@1",
            suites=("base", "code", "report"),
            shots=3,
        ),
        _line(
            "humanevalpack",
            "HumanEval in Python, JavaScript, Java, Go, C++, Rust (Muennighoff et al. 2023)",
            "humaneval_pack:humaneval_pack",
            "LANGUAGE/data/humanevalpack.jsonl (prompt, declaration, test), or MultiPL-E's rows in "
            "humaneval_multi.jsonl (prompt, tests, stop_tokens)",
            main_metric="pass@1",
            suites=("code", "report"),
        ),
        _line(
            "bbh",
            "BIG-Bench Hard, 27 kinds of puzzle (Suzgun et al. 2022)",
            "bbh:bbh",
            "bbh/TASK.json, or bbh.jsonl (task, input, target)",
            main_metric="exact_match,flexible",
            suites=("base", "chat", "report"),
            shots=3,
            chat_shots=3,
        ),
        _line(
            "gaokao_bench",
            "Chinese exams of 2010 to 2022, objective questions (Zhang et al. 2023)",
            "gaokao:gaokao_bench",
            "Objective_Questions/*.json, or gaokao_bench_objective.jsonl (task, question, answer, "
            "score)",
            main_metric="scoring_rate",
        ),
    )
}
