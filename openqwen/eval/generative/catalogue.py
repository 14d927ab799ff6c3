"""Lines of the catalogue for benchmarks whose answer is written: code, mathematics, BBH, Gaokao."""

from openqwen.eval.tasks.info import TaskInfo

TASKS: dict[str, TaskInfo] = {
    line.name: line
    for line in (
        TaskInfo(
            name="gsm8k",
            about="word problems of schools, the answer a number (Cobbe et al. 2021)",
            suites=("base", "chat", "math", "report"),
            build="openqwen.eval.generative.arithmetic:gsm8k",
            main_metric="exact_match,flexible-extract",
            shots=8,
            chat_shots=8,
            files="gsm8k_test.jsonl, or test.jsonl in a folder gsm8k (question, answer)",
        ),
        TaskInfo(
            name="math",
            about="problems of competitions, the answer a formula (Hendrycks et al. 2021)",
            suites=("base", "report"),
            build="openqwen.eval.generative.mathematics:math",
            main_metric="math_equal,flexible",
            shots=4,
            files="MATH/test/SUBJECT/N.json, or math_test.jsonl (problem, level, type, solution)",
        ),
        TaskInfo(
            name="math500",
            about="the 500 problems of MATH that Lightman et al. (2023) test on",
            suites=("math", "report"),
            build="openqwen.eval.generative.mathematics:math500",
            main_metric="math_equal,flexible",
            shots=4,
            files="math_500.jsonl, or math_splits/test.jsonl of PRM800K (problem, solution)",
        ),
        TaskInfo(
            name="math401",
            about="arithmetic to three decimals (Yuan et al. 2023)",
            suites=("math", "report"),
            build="openqwen.eval.generative.arithmetic:math401",
            main_metric="acc",
            files="math401.json (query, response)",
        ),
        TaskInfo(
            name="math23k",
            about="word problems of schools, Chinese (Wang et al. 2017)",
            suites=("math", "report"),
            build="openqwen.eval.generative.arithmetic:math23k",
            main_metric="acc",
            files="math23k_test.json (original_text, ans)",
        ),
        TaskInfo(
            name="humaneval",
            about="Python functions to complete, judged by their tests (Chen et al. 2021)",
            suites=("base", "chat", "code", "report"),
            build="openqwen.eval.generative.human_eval:human_eval",
            main_metric="pass@1",
            files="HumanEval.jsonl.gz (task_id, prompt, entry_point, test)",
        ),
        TaskInfo(
            name="mbpp",
            about="small Python tasks in a sentence, with tests (Austin et al. 2021)",
            suites=("base", "code", "report"),
            build="openqwen.eval.generative.mbpp:mbpp",
            main_metric="pass@1",
            shots=3,
            files="mbpp.jsonl (task_id, text, test_list)",
        ),
        TaskInfo(
            name="humanevalpack",
            about="HumanEval in Python, JavaScript, Java, Go, C++, Rust (Muennighoff et al. 2023)",
            suites=("code", "report"),
            build="openqwen.eval.generative.humaneval_pack:humaneval_pack",
            main_metric="pass@1",
            files=(
                "LANGUAGE/data/humanevalpack.jsonl (prompt, declaration, test), or MultiPL-E's "
                "rows in humaneval_multi.jsonl (prompt, tests, stop_tokens)"
            ),
        ),
        TaskInfo(
            name="bbh",
            about="BIG-Bench Hard, 27 kinds of puzzle (Suzgun et al. 2022)",
            suites=("base", "chat", "report"),
            build="openqwen.eval.generative.bbh:bbh",
            main_metric="exact_match,flexible",
            shots=3,
            chat_shots=3,
            files="bbh/TASK.json, or bbh.jsonl (task, input, target)",
        ),
        TaskInfo(
            name="gaokao_bench",
            about="Chinese exams of 2010 to 2022, objective questions (Zhang et al. 2023)",
            build="openqwen.eval.generative.gaokao:gaokao_bench",
            main_metric="scoring_rate",
            files=(
                "Objective_Questions/*.json, or gaokao_bench_objective.jsonl (task, question, "
                "answer, score)"
            ),
        ),
    )
}
