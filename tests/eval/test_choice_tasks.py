"""Each benchmark's own files become the rows of its harness task, and prompts are the harness's."""

import csv
import gzip
import importlib
import json
from pathlib import Path

import pytest

from openqwen.core.errors import UserError
from openqwen.core.runtime import development_data
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Responses
from openqwen.eval.tasks import agieval, exams, knowledge, reasoning, subjects
from openqwen.eval.tasks.catalogue import TASKS
from openqwen.eval.tasks.definitions import quiet_harness
from openqwen.eval.tasks.info import GROUP_COLUMN, ID_COLUMN, build_task

pytest.importorskip("lm_eval", reason="the harness is not installed: pip install openqwen[eval]")


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def built(name, folder, shots=None, **more):
    setting = Setting(
        model=None, lm=None, out=Path("unused"), responses=Responses(None), data=folder, **more
    )
    info = TASKS[name]
    return build_task(info, setting, info.shots if shots is None else shots)


def requests(task):
    """Return the arguments of all requests of a harness task."""
    with quiet_harness():
        task.build_all_requests(limit=None, rank=0, world_size=1)
    return [instance.args for instance in task.instances]


def stock_requests(folder, name, shots, splits):
    """Return what the harness's own task asks of rows that its data set would hold."""
    import lm_eval.tasks
    from datasets import Dataset, DatasetDict

    data = DatasetDict({split: Dataset.from_list(rows) for split, rows in splits.items()})
    place = Path(lm_eval.tasks.__file__).parent / folder
    with quiet_harness():
        manager = lm_eval.tasks.TaskManager(include_defaults=False, include_path=str(place))
        member = {"task": name, "custom_dataset": lambda **_: data, "num_fewshot": shots}
        task = manager.load([{"group": "test", "task": [member]}])["tasks"][name]
        task.set_fewshot_seed(1234)
    return requests(task)


# MMLU, C-Eval, CMMLU


def mmlu_rows():
    return {
        "dev": [
            {"question": f"Shown {i}?", "choices": list("wxyz"), "answer": i % 4} for i in range(5)
        ],
        "test": [
            {"question": " Asked? ", "choices": ["1", "2", "3", "4"], "answer": 2},
            {"question": "Other?", "choices": ["5", "6", "7", "8"], "answer": 0},
        ],
    }


def test_mmlus_own_csv_files_ask_what_the_harness_asks(tmp_path):
    rows = mmlu_rows()
    for split, found in rows.items():
        lines = [[r["question"], *r["choices"], "ABCD"[r["answer"]]] for r in found]
        write_csv(tmp_path / "data" / split / f"anatomy_{split}.csv", lines)
    found = built("mmlu", tmp_path)
    assert list(found.tasks) == ["mmlu_anatomy"]
    expected = stock_requests("mmlu/default", "mmlu_anatomy", 5, rows)
    assert requests(found.tasks["mmlu_anatomy"]) == expected
    assert expected[0][0].count("Answer:") == 6
    targets = [found.tasks["mmlu_anatomy"].doc_to_target(d) for d in rows["test"]]
    assert targets == [2, 0]


def test_mmlu_reads_rows_that_name_their_subject_and_too_few_examples_are_told(tmp_path):
    rows = [
        {"subject": "anatomy", "split": split, **row, "answer": "ABCD"[row["answer"]]}
        for split, found in mmlu_rows().items()
        for row in found
    ]
    rows += [
        {"subject": "alchemy", "split": "test", "question": "?", "choices": list("abcd")},
        {"subject": "anatomy", "split": "test", "question": "?", "choices": ["a"], "answer": "A"},
    ]
    path = tmp_path / "mmlu.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    found = exams.read_mmlu(tmp_path)
    assert [row.values["answer"] for row in found.tests] == [2, 0]
    assert found.tests[0].group == "STEM"
    assert found.set_aside.counts == {exams.NO_SUBJECT: 1, exams.NOT_USABLE: 1}
    expected = stock_requests("mmlu/default", "mmlu_anatomy", 5, mmlu_rows())
    assert requests(built("mmlu", tmp_path).tasks["mmlu_anatomy"]) == expected
    with pytest.raises(UserError, match=r"6 examples are asked for, .* has 5 for mmlu_anatomy"):
        built("mmlu", tmp_path, shots=6)
    assert built("mmlu", tmp_path, shots=0).shots == 0


def test_cevals_own_csv_files_ask_what_the_harness_asks_and_hard_subjects_are_marked(tmp_path):
    heading = ["id", "question", "A", "B", "C", "D", "answer"]
    rows = {
        "dev": [["0", "例题？", "甲", "乙", "丙", "丁", "B", "解析"]],
        "val": [["0", "试题？", "一", "二", "三", "四", "D"]],
    }
    for subject in ("advanced_mathematics", "law"):
        write_csv(
            tmp_path / "ceval-exam" / "dev" / f"{subject}_dev.csv",
            [[*heading, "explanation"], *rows["dev"]],
        )
        write_csv(tmp_path / "ceval-exam" / "val" / f"{subject}_val.csv", [heading, *rows["val"]])
    found = built("ceval", tmp_path, shots=1)
    name = "ceval-valid_law"
    hub = {
        split: [dict(zip(heading, cells, strict=False)) for cells in found_rows]
        for split, found_rows in rows.items()
    }
    asked = requests(found.tasks[name])
    assert asked == stock_requests("ceval", name, 1, hub)
    assert asked[0][0].startswith("以下是中国关于法学的单项选择题")
    assert found.groups[name] == "humanities"
    assert found.extra_scores("ceval-valid_advanced_mathematics", {}, {"acc": 1.0}) == {
        "acc_hard": 1.0
    }
    assert found.extra_scores(name, {}, {"acc": 1.0}) == {}


def test_cmmlus_own_csv_files_ask_what_the_harness_asks(tmp_path):
    heading = ["", "Question", "A", "B", "C", "D", "Answer"]
    rows = {
        "dev": [["0", "例题？", "甲", "乙", "丙", "丁", "B"]],
        "test": [["0", "试题？", "一", "二", "三", "四", "D"]],
    }
    for split, lines in rows.items():
        write_csv(tmp_path / "cmmlu" / split / "agronomy.csv", [heading, *lines])
    found = built("cmmlu", tmp_path, shots=1)
    hub = {
        split: [dict(zip(heading[1:], cells[1:], strict=True)) for cells in lines]
        for split, lines in rows.items()
    }
    expected = stock_requests("cmmlu", "cmmlu_agronomy", 1, hub)
    assert requests(found.tasks["cmmlu_agronomy"]) == expected


def test_every_subject_of_the_harness_has_a_group():
    import lm_eval.tasks

    base = Path(lm_eval.tasks.__file__).parent
    for folder, pattern, known in (
        ("mmlu/default", "mmlu_*.yaml", {f"mmlu_{s}" for s in subjects.MMLU}),
        ("ceval", "ceval-valid_*.yaml", {f"ceval-valid_{s}" for s in subjects.CEVAL}),
        ("cmmlu", "cmmlu_*.yaml", {f"cmmlu_{s}" for s in subjects.CMMLU}),
    ):
        assert {path.stem for path in (base / folder).glob(pattern)} == known
    assert len(subjects.MMLU) == 57
    assert len(subjects.CEVAL) == 52
    assert len(subjects.CMMLU) == 67
    assert set(subjects.CEVAL) > subjects.CEVAL_HARD


# common sense


def test_hellaswags_own_file_asks_what_the_harness_asks(tmp_path):
    row = {"ind": 1, "activity_label": "Baking", "ctx_a": "A man [title] bakes.", "ctx_b": "he"}
    row |= {"ctx": "A man bakes. he", "split": "val", "split_type": "indomain", "label": 3}
    row |= {"endings": ["eats [step] it.", "sings.", "  sleeps.", "flies."], "source_id": "x"}
    write_jsonl(tmp_path / "hellaswag_val.jsonl", [row, {**row, "label": 9}, {"ctx_a": "?"}])
    found = reasoning.read_hellaswag(tmp_path)
    assert len(found.tests) == 1
    assert sum(found.set_aside.counts.values()) == 2
    task = built("hellaswag", tmp_path).tasks["hellaswag"]
    expected = stock_requests("hellaswag", "hellaswag", 0, {"validation": [row], "train": [row]})
    assert requests(task) == expected
    assert expected[0] == ("Baking: A man. bakes. He", " eats it.")
    assert task.doc_to_target(task.eval_docs[0]) == 3


def test_piqas_questions_are_joined_with_their_file_of_labels(tmp_path):
    rows = [{"goal": f"g{i}", "sol1": "a", "sol2": "b"} for i in range(3)]
    write_jsonl(tmp_path / "physicaliqa" / "piqa" / "valid.jsonl", rows)
    (tmp_path / "physicaliqa" / "piqa" / "valid-labels.lst").write_text("1\n0\n1\n")
    found = reasoning.read_piqa(tmp_path)
    assert [row.values["label"] for row in found.tests] == [1, 0, 1]
    hub = [{**row, "label": label} for row, label in zip(rows, (1, 0, 1), strict=True)]
    expected = stock_requests("piqa", "piqa", 0, {"validation": hub, "train": hub})
    assert requests(built("piqa", tmp_path).tasks["piqa"]) == expected


def test_siqas_two_forms_ask_the_same(tmp_path):
    hub = {"context": "Tracy ran home. It rained.", "question": "Why did she run?"}
    hub |= {"answerA": "to be dry", "answerB": "to sing", "answerC": "for milk"}
    write_jsonl(tmp_path / "a" / "socialiqa" / "dev.jsonl", [hub])
    (tmp_path / "a" / "socialiqa" / "dev-labels.lst").write_text("1\n")
    said = "Please choose the correct answer to the question: Tracy ran home. It rained. Why did "
    said += "she run?\n\nAnswer1: to be dry Answer2: to sing Answer3: for milk\n\n"
    said += "Answer format: answer1/answer2/answer3"
    row = {"instruction": said, "input": "", "output": "the correct answer is answer1"}
    write_jsonl(tmp_path / "b" / "siqa.jsonl", [{**row, "answer": "answer1"}])
    rows = {"validation": [{**hub, "label": "1"}]}
    expected = stock_requests("siqa", "social_iqa", 0, rows | {"train": rows["validation"]})
    for folder in ("a", "b"):
        task = built("siqa", tmp_path / folder).tasks["social_iqa"]
        assert requests(task) == expected
        assert task.doc_to_target(task.eval_docs[0]) == 0
    assert expected[0] == (
        "Q: Tracy ran home. It rained. Why did she run?\nA:",
        " to be dry",
    )


def test_arcs_two_forms_ask_the_same_and_its_other_splits_are_left_out(tmp_path):
    own = {"id": "x", "question": {"stem": "What is wet?", "choices": []}, "answerKey": "B"}
    own["question"]["choices"] = [{"text": t, "label": n} for t, n in (("sand", "A"), ("sea", "B"))]
    write_jsonl(tmp_path / "a" / "ARC-Easy-Test.jsonl", [own])
    write_jsonl(tmp_path / "a" / "ARC-Easy-Train.jsonl", [own])
    said = "Please choose the correct answer to the question: What is wet?\n\nAnswer1: sand "
    said += "Answer2: sea\n\nAnswer format: answer1/answer2"
    row = {"instruction": said, "input": "", "output": "x", "answer": "answer2"}
    write_jsonl(tmp_path / "b" / "arc_easy_500.jsonl", [row])
    write_jsonl(
        tmp_path / "c" / "arc_easy.jsonl", [{**own, "split": "Dev"}, {**own, "split": "Test"}]
    )
    hub = {"question": "What is wet?", "answerKey": "B"}
    hub["choices"] = {"text": ["sand", "sea"], "label": ["A", "B"]}
    splits = {split: [hub] for split in ("train", "validation", "test")}
    expected = stock_requests("arc", "arc_easy", 0, splits)
    for folder in ("a", "b", "c"):
        task = built("arc_easy", tmp_path / folder).tasks["arc_easy"]
        assert requests(task) == expected
        assert task.doc_to_target(task.eval_docs[0]) == 1


def test_ocnli_is_asked_in_words_of_its_language_and_rows_without_a_label_are_set_aside(tmp_path):
    rows = [
        {"sentence1": "他在跑步", "sentence2": "他在动", "label": "entailment"},
        {"sentence1": "他在跑步", "sentence2": "他在睡", "label": "contradiction"},
        {"sentence1": "他在跑步", "sentence2": "他饿了", "label": "-"},
    ]
    write_jsonl(tmp_path / "OCNLI" / "dev.json", rows)
    task = built("ocnli", tmp_path).tasks["ocnli"]
    asked = requests(task)
    assert len(asked) == 6
    assert asked[0] == ("阅读文章：他在跑步\n根据上文，回答如下问题： 他在动？\n答：", "对")
    assert [task.doc_to_target(doc) for doc in task.eval_docs] == [0, 2]


# knowledge and reading


def test_boolqs_own_file_asks_what_the_harness_asks(tmp_path):
    row = {"question": "is the sea wet", "passage": "The sea is water.", "title": "Sea"}
    write_jsonl(tmp_path / "BoolQ" / "dev.jsonl", [{**row, "answer": True}])
    hub = [{**row, "label": 1, "idx": 0}]
    expected = stock_requests("super_glue/boolq", "boolq", 0, {"validation": hub, "train": hub})
    found = built("boolq", tmp_path)
    assert requests(found.tasks["boolq"]) == expected
    assert found.tasks["boolq"].doc_to_target(hub[0]) == 1
    assert list(found.notes) == []


def test_boolq_without_passages_is_asked_without_them_and_says_so(tmp_path):
    said = "Please answer the following question with true or false, question: is the sea wet?\n\n"
    row = {"instruction": said + "Answer format: true/false", "input": "", "output": "x"}
    write_jsonl(tmp_path / "boolq_500.jsonl", [{**row, "answer": "false"}])
    found = built("boolq", tmp_path)
    task = found.tasks["boolq"]
    assert requests(task)[0] == ("Question: is the sea wet?\nAnswer:", " no")
    assert task.doc_to_target(task.eval_docs[0]) == 0
    assert list(found.notes) == [knowledge.NO_PASSAGE]


def test_commonsense_qa_shows_training_questions_and_asks_what_the_harness_asks(tmp_path):
    def own(stem, answer):
        choices = [{"label": label, "text": f"{stem} {label}"} for label in "ABCDE"]
        inner = {"stem": stem, "question_concept": "x", "choices": choices}
        return {"answerKey": answer, "id": stem, "question": inner}

    def hub(stem, answer):
        choices = {"label": list("ABCDE"), "text": [f"{stem} {label}" for label in "ABCDE"]}
        return {"question": stem, "choices": choices, "answerKey": answer}

    train = [(f"shown {i}", "ABCDE"[i % 5]) for i in range(12)]
    write_jsonl(tmp_path / "train_rand_split.jsonl", [own(*row) for row in train])
    write_jsonl(tmp_path / "dev_rand_split.jsonl", [own("asked", "C")])
    splits = {"train": [hub(*row) for row in train], "validation": [hub("asked", "C")]}
    expected = stock_requests("commonsense_qa", "commonsense_qa", 8, splits)
    asked = requests(built("commonsense_qa", tmp_path).tasks["commonsense_qa"])
    assert asked == expected
    assert asked[0][0].count("Answer:") == 9


def test_natural_questions_ask_what_the_harness_asks_and_take_any_of_the_answers(tmp_path):
    rows = [{"question": "who wrote emma?", "answer": ["Jane Austen", "Austen"]}, {"question": 3}]
    write_jsonl(tmp_path / "NQ-open.efficientqa.dev.1.1.jsonl", rows)
    task = built("nq_open", tmp_path).tasks["nq_open"]
    hub = [{"question": "who wrote emma", "answer": rows[0]["answer"]}]
    expected = stock_requests("nq_open", "nq_open", 0, {"validation": hub, "train": hub})
    assert requests(task) == expected
    assert expected[0][0] == "Answer these questions:\n\nQ: who wrote emma?\nA:"
    assert task.process_results(hub[0], ["the Austen"]) == {"exact_match": 1.0}
    assert task.process_results(hub[0], ["Brontë"]) == {"exact_match": 0.0}


def test_lambada_is_read_from_lines_or_rows_and_asks_for_the_last_word(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "lambada_test_plain_text.txt").write_text("he gave her the ring\nword\n")
    write_jsonl(tmp_path / "b" / "lambada_test.jsonl", [{"text": "he gave her the ring"}])
    for folder in ("a", "b"):
        task = built("lambada", tmp_path / folder).tasks["lambada_openai"]
        assert requests(task) == [("he gave her the", " ring")]
    assert knowledge.read_lambada(tmp_path / "a").set_aside.counts == {knowledge.NOT_OF_FORM: 1}


# AGIEval


def test_agieval_asks_in_the_authors_words_and_takes_any_of_several_right_letters(tmp_path):
    folder = tmp_path / "AGIEval" / "data" / "v1"
    choice = {
        "passage": "Text. ",
        "question": "Which?",
        "options": ["(A)one", "(B)two", "(C)three"],
    }
    write_jsonl(folder / "lsat-rc.jsonl", [{**choice, "label": "B", "answer": None}])
    law = {"passage": None, "question": "哪些？", "options": ["(A)甲", "(B)乙"], "answer": None}
    write_jsonl(folder / "jec-qa-ca.jsonl", [{**law, "label": ["A", "B"]}, {**law, "label": []}])
    maths = {"passage": None, "question": "Find $x$.", "options": None, "label": None}
    write_jsonl(folder / "math.jsonl", [{**maths, "answer": "5"}])
    found = built("agieval", tmp_path)
    assert sorted(found.tasks) == ["agieval_jec_qa_ca", "agieval_lsat_rc", "agieval_math"]
    assert requests(found.tasks["agieval_lsat_rc"])[1] == (
        "Text. Q: Which? Answer Choices: (A)one (B)two (C)three\n"
        "A: Among A through C, the answer is",
        " (B)two",
    )
    law_task = found.tasks["agieval_jec_qa_ca"]
    assert requests(law_task)[0][0] == "问题：哪些？ 选项：(A)甲 (B)乙\n答案：从A到B, 我们应选择"
    doc = law_task.eval_docs[0]
    assert law_task.process_results(doc, [(-2.0, False), (-1.0, False)])["acc"] == 1.0
    assert doc[GROUP_COLUMN] == "Chinese"
    assert doc[ID_COLUMN].startswith("agieval_jec_qa_ca/")
    assert requests(found.tasks["agieval_math"])[0][0] == "Q: Find $x$.\nA: The answer is"
    assert list(found.notes) == ["set aside 1: not a question of its form 1"]


def test_agievals_parts_are_the_harnesss():
    import lm_eval.tasks

    files = (Path(lm_eval.tasks.__file__).parent / "agieval").glob("*.yaml")
    parts = {path.stem for path in files if not path.stem.startswith("agieval")}
    assert parts == agieval.ENGLISH | agieval.CHINESE


# the development data


@pytest.mark.skipif(development_data() is None, reason="needs OPENQWEN_DATA")
@pytest.mark.parametrize(
    ("name", "count"),
    [
        *(("mmlu", 12251), ("cmmlu", 10114), ("agieval", 4138), ("hellaswag", 1000)),
        *(("piqa", 1838), ("arc_challenge", 1150), ("arc_easy", 500), ("boolq", 500)),
        ("siqa", 500),
    ],
)
def test_the_development_files_are_read_whole(name, count):
    info = TASKS[name]
    module, _, function = info.build.partition(":")
    room = importlib.import_module(module)
    if function.startswith("arc_"):
        found = reasoning.read_arc(development_data(), function.removeprefix("arc_"))
    else:
        found = getattr(room, f"read_{function}")(development_data())
    assert len(found.tests) == count
    assert found.set_aside.counts == {}


def test_a_context_of_hellaswag_is_cut_where_a_sentence_is_begun():
    assert reasoning.hellaswag_parts("He ran. She sat. they") == ("He ran. She sat.", "they")
    assert reasoning.hellaswag_parts("[header] Bake [step] Mix it.") == (
        "[header] Bake [step] Mix it.",
        "",
    )
    assert reasoning.hellaswag_parts("no end") == ("", "no end")


def test_a_topic_names_a_subject_as_well(tmp_path):
    row = {"question": "q", "answer_a": "1", "answer_b": "2", "answer_c": "3", "answer_d": "4"}
    write_jsonl(
        tmp_path / "mmlu.jsonl", [{**row, "correct_answer": "C", "topic": "moral disputes"}]
    )
    (found,) = exams.read_mmlu(tmp_path).tests
    assert found.task == "mmlu_moral_disputes"
    assert found.values["answer"] == 2


@pytest.mark.skipif(development_data() is None, reason="needs OPENQWEN_DATA")
def test_every_context_of_hellaswag_is_cut_as_its_authors_cut_it():
    from openqwen.eval.tasks.files import find_files, read_files

    (path,) = find_files(development_data(), r"hellaswag_1000\.jsonl")
    for _, _, row in read_files([path], reasoning.SetAside()):
        first, second = reasoning.hellaswag_parts(row["ctx"])
        own = f"{row['ctx_a']} {row['ctx_b'].capitalize()}".strip()
        assert f"{first} {second.capitalize()}".strip() == own
