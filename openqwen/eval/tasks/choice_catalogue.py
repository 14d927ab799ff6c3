"""Lines of the catalogue: exams, knowledge and common sense, scored by log-likelihood.

A choice is taken by its log-likelihood after the prompt; `acc_norm` divides it by the choice's
length in characters first, as the harness does, where choices are whole sentences.
"""

from openqwen.eval.tasks.info import TaskInfo

TASKS: dict[str, TaskInfo] = {
    line.name: line
    for line in (
        TaskInfo(
            name="mmlu",
            about="57 subjects of school and profession, English (Hendrycks et al. 2021)",
            suites=("base", "chat", "report"),
            build="openqwen.eval.tasks.exams:mmlu",
            shots=5,
            chat_shots=5,
            files=(
                "the original test/SUBJECT_test.csv and dev/SUBJECT_dev.csv below a folder, or "
                "mmlu.jsonl with subject, split, question, choices, answer"
            ),
        ),
        TaskInfo(
            name="ceval",
            about="52 subjects of Chinese exams (Huang et al. 2023), validation part",
            suites=("base", "chat", "report"),
            build="openqwen.eval.tasks.exams:ceval",
            shots=5,
            chat_shots=5,
            files=(
                "the original val/SUBJECT_val.csv and dev/SUBJECT_dev.csv in a folder whose name "
                "has ceval in it (id,question,A,B,C,D,answer)"
            ),
        ),
        TaskInfo(
            name="cmmlu",
            about="67 subjects in Chinese (Li et al. 2023)",
            build="openqwen.eval.tasks.exams:cmmlu",
            shots=5,
            chat_shots=5,
            files=(
                "the original test/SUBJECT.csv and dev/SUBJECT.csv in a folder whose name has "
                "cmmlu in it, or cmmlu.jsonl with subject, split, question, choices, answer"
            ),
        ),
        TaskInfo(
            name="agieval",
            about="20 entrance exams in English and Chinese (Zhong et al. 2023)",
            build="openqwen.eval.tasks.agieval:agieval",
            files="the original data/v1/TASK.jsonl, or agieval*.jsonl with a field task",
        ),
        TaskInfo(
            name="arc_easy",
            about="science questions of schools, easy part (Clark et al. 2018)",
            build="openqwen.eval.tasks.reasoning:arc_easy",
            files="ARC-Easy-Test.jsonl, or arc_easy*.jsonl",
        ),
        TaskInfo(
            name="arc_challenge",
            about="science questions of schools, hard part (Clark et al. 2018)",
            build="openqwen.eval.tasks.reasoning:arc_challenge",
            main_metric="acc_norm",
            files="ARC-Challenge-Test.jsonl, or arc_challenge*.jsonl",
        ),
        TaskInfo(
            name="boolq",
            about="yes or no, from a passage (Clark et al. 2019)",
            build="openqwen.eval.tasks.knowledge:boolq",
            files=(
                "dev.jsonl or val.jsonl in a folder whose name has boolq in it, or boolq*.jsonl "
                "(question, passage, answer or label)"
            ),
        ),
        TaskInfo(
            name="commonsense_qa",
            about="five choices about everyday life (Talmor et al. 2019)",
            build="openqwen.eval.tasks.knowledge:commonsense_qa",
            shots=8,
            chat_shots=8,
            files="dev_rand_split.jsonl and train_rand_split.jsonl",
        ),
        TaskInfo(
            name="nq_open",
            about="what people asked a search engine, answered in words (Lee et al. 2019)",
            build="openqwen.eval.tasks.knowledge:nq_open",
            main_metric="exact_match",
            files="NQ-open*.dev*.jsonl or nq_open*.jsonl (question, answer: a list)",
        ),
        TaskInfo(
            name="lambada",
            about="the last word of a passage (Paperno et al. 2016)",
            build="openqwen.eval.tasks.knowledge:lambada",
            files="lambada_test_plain_text.txt, or lambada*.jsonl with a field text",
        ),
        TaskInfo(
            name="hellaswag",
            about="how a scene goes on, 4 endings (Zellers et al. 2019)",
            build="openqwen.eval.tasks.reasoning:hellaswag",
            main_metric="acc_norm",
            files="hellaswag_val.jsonl or hellaswag*.jsonl",
        ),
        TaskInfo(
            name="piqa",
            about="everyday physics, 2 solutions (Bisk et al. 2020)",
            build="openqwen.eval.tasks.reasoning:piqa",
            files=(
                "valid.jsonl with valid-labels.lst in a folder whose name has piqa in it, or "
                "piqa*.jsonl with a field label"
            ),
        ),
        TaskInfo(
            name="siqa",
            about="what people do and feel, 3 answers (Sap et al. 2019)",
            build="openqwen.eval.tasks.reasoning:siqa",
            files=(
                "dev.jsonl with dev-labels.lst in a folder whose name has social or siqa in it, or "
                "siqa*.jsonl"
            ),
        ),
        TaskInfo(
            name="ocnli",
            about="whether a sentence follows from another, Chinese (Hu et al. 2020)",
            build="openqwen.eval.tasks.reasoning:ocnli",
            files=(
                "dev.json or dev.jsonl in a folder whose name has ocnli in it, or ocnli*.jsonl "
                "(sentence1, sentence2, label)"
            ),
        ),
    )
}
