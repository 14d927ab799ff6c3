"""Lines of the catalogue: exams, knowledge and common sense, scored by log-likelihood.

A choice is taken by its log-likelihood after the prompt; `acc_norm` divides it by the choice's
length in characters first, as the harness does, where choices are whole sentences.
"""

from openqwen.eval.tasks.info import TaskInfo
from openqwen.eval.tasks.published import published

_HERE = "openqwen.eval.tasks"


def _line(
    name: str,
    about: str,
    build: str,
    files: str,
    *,
    suites: tuple[str, ...] = ("report",),
    shots: int = 0,
    main_metric: str = "acc",
) -> TaskInfo:
    return TaskInfo(
        name=name,
        about=about,
        suites=suites,
        build=f"{_HERE}.{build}",
        main_metric=main_metric,
        shots=shots,
        chat_shots=shots,
        files=files,
        published=published(name),
    )


TASKS = {
    line.name: line
    for line in (
        _line(
            "mmlu",
            "57 subjects of school and profession, English (Hendrycks et al. 2021)",
            "exams:mmlu",
            "the original test/SUBJECT_test.csv and dev/SUBJECT_dev.csv below a folder, or "
            "mmlu.jsonl with subject, split, question, choices, answer",
            suites=("base", "chat", "report"),
            shots=5,
        ),
        _line(
            "ceval",
            "52 subjects of Chinese exams (Huang et al. 2023), validation part",
            "exams:ceval",
            "the original val/SUBJECT_val.csv and dev/SUBJECT_dev.csv in a folder whose name has "
            "ceval in it (id,question,A,B,C,D,answer)",
            suites=("base", "chat", "report"),
            shots=5,
        ),
        _line(
            "cmmlu",
            "67 subjects in Chinese (Li et al. 2023)",
            "exams:cmmlu",
            "the original test/SUBJECT.csv and dev/SUBJECT.csv in a folder whose name has cmmlu in "
            "it, or cmmlu.jsonl with subject, split, question, choices, answer",
            shots=5,
        ),
        _line(
            "agieval",
            "20 entrance exams in English and Chinese (Zhong et al. 2023)",
            "agieval:agieval",
            "the original data/v1/TASK.jsonl, or agieval*.jsonl with a field task",
        ),
        _line(
            "arc_easy",
            "science questions of schools, easy part (Clark et al. 2018)",
            "reasoning:arc_easy",
            "ARC-Easy-Test.jsonl, or arc_easy*.jsonl",
        ),
        _line(
            "arc_challenge",
            "science questions of schools, hard part (Clark et al. 2018)",
            "reasoning:arc_challenge",
            "ARC-Challenge-Test.jsonl, or arc_challenge*.jsonl",
            main_metric="acc_norm",
        ),
        _line(
            "boolq",
            "yes or no, from a passage (Clark et al. 2019)",
            "knowledge:boolq",
            "dev.jsonl or val.jsonl in a folder whose name has boolq in it, or boolq*.jsonl "
            "(question, passage, answer or label)",
        ),
        _line(
            "commonsense_qa",
            "five choices about everyday life (Talmor et al. 2019)",
            "knowledge:commonsense_qa",
            "dev_rand_split.jsonl and train_rand_split.jsonl",
            shots=8,
        ),
        _line(
            "nq_open",
            "questions that people asked a search engine, answered in words (Lee et al. 2019)",
            "knowledge:nq_open",
            "NQ-open*.dev*.jsonl or nq_open*.jsonl (question, answer: a list)",
            main_metric="exact_match",
        ),
        _line(
            "lambada",
            "the last word of a passage (Paperno et al. 2016)",
            "knowledge:lambada",
            "lambada_test_plain_text.txt, or lambada*.jsonl with a field text",
        ),
        _line(
            "hellaswag",
            "how a scene goes on, 4 endings (Zellers et al. 2019)",
            "reasoning:hellaswag",
            "hellaswag_val.jsonl or hellaswag*.jsonl",
            main_metric="acc_norm",
        ),
        _line(
            "piqa",
            "everyday physics, 2 solutions (Bisk et al. 2020)",
            "reasoning:piqa",
            "valid.jsonl with valid-labels.lst in a folder whose name has piqa in it, or "
            "piqa*.jsonl with a field label",
        ),
        _line(
            "siqa",
            "what people do and feel, 3 answers (Sap et al. 2019)",
            "reasoning:siqa",
            "dev.jsonl with dev-labels.lst in a folder whose name has social or siqa in it, or "
            "siqa*.jsonl",
        ),
        _line(
            "ocnli",
            "whether a sentence follows from another, Chinese (Hu et al. 2020)",
            "reasoning:ocnli",
            "dev.json or dev.jsonl in a folder whose name has ocnli in it, or ocnli*.jsonl "
            "(sentence1, sentence2, label)",
        ),
    )
}
