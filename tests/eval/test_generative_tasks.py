"""Benchmarks with written answers: rows read from the published forms, prompts, extraction, scores.

The harness's evaluator asks a scripted model, so that what right and wrong replies score is known.
"""

import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="needs openqwen[eval]")

from openqwen.agent.models import Reply
from openqwen.core.errors import UserError
from openqwen.core.runtime import development_data
from openqwen.eval.generative import arithmetic, bbh, gaokao, humaneval_pack, mathematics
from openqwen.eval.generative.catalogue import TASKS
from openqwen.eval.generative.judge import Judge
from openqwen.eval.generative.languages import LANGUAGES, can_run, cut_at_closing, language_of
from openqwen.eval.harness.run import run_task
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Responses


class Scripted:
    """A model whose replies a function makes of its prompts; it remembers what it was asked."""

    name = "scripted"

    def __init__(self, reply):
        self.answer, self.asked = reply, []

    def reply(self, prompts, options):
        self.asked += [(prompt, options) for prompt in prompts]
        return [Reply(self.answer(text_of(prompt)), "stop") for prompt in prompts]

    def stream(self, prompt, options):
        yield self.answer(text_of(prompt))
        return Reply(self.answer(text_of(prompt)), "stop")


def text_of(prompt):
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message["content"] for message in prompt)


def write_rows(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


def run(task, tmp_path, reply, *, is_chat=False, shots=None, limit=None):
    model = Scripted(reply)
    setting = Setting(
        model=model,
        lm=None,
        out=tmp_path / "out",
        responses=Responses(None),
        data=tmp_path,
        is_chat=is_chat,
        limit=limit,
    )
    info = TASKS[task]
    if shots is None:
        shots = info.chat_shots if is_chat else info.shots
    return run_task(info, setting, shots), model


GSM8K = [
    {"question": "Three and four apples?", "answer": "3+4=<<3+4=7>>7\n#### 7"},
    {"question": "A thousand and a half times two?", "answer": "…\n#### 2,001"},
    {"question": "broken", "answer": "no number"},
]


def test_gsm8k_takes_answers_strictly_and_flexibly(tmp_path):
    write_rows(tmp_path / "gsm8k_test.jsonl", GSM8K)
    replies = {"Three": " 3 + 4 = 7. The answer is 7.", "A thousand": " It makes $2,001 in all"}

    def reply(prompt):
        asked = prompt.rpartition("Q: ")[2]
        return next(text for start, text in replies.items() if asked.startswith(start))

    result, model = run("gsm8k", tmp_path, reply)
    assert result.metrics["exact_match,strict-match"].value == 0.5
    assert result.metrics["exact_match,flexible-extract"].value == 1.0
    assert result.metrics["exact_match,flexible-extract"].n == 2
    prompt, options = model.asked[0]
    assert prompt.count("Q: ") == 9
    assert prompt.startswith("Q: There are 15 trees in the grove.")
    assert prompt.endswith("apples?\nA:")
    assert options.stop == ("Q:", "</s>", "<|im_end|>")
    assert "the answer is no number 1" in result.settings["notes"][0]


MATH = [
    {
        "problem": "What is half of one?",
        "level": "Level 1",
        "type": "Algebra",
        "solution": r"It is $\boxed{\frac{1}{2}}$.",
    },
    {"problem": "Solve.", "level": "Level 1", "type": "Geometry", "solution": r"So \boxed{(1,2)}."},
    {"problem": "Nothing boxed.", "level": "Level 1", "type": "Algebra", "solution": "So 3."},
]


def test_math_compares_what_answers_mean(tmp_path):
    write_rows(tmp_path / "math_test.jsonl.gz", MATH)

    def reply(prompt):
        if "half of one?\n\nSolution:" in prompt:
            return " Final Answer: The final answer is $0.5$. I hope it is correct."
        return r" It is $\boxed{(2,1)}$."

    result, model = run("math", tmp_path, reply)
    scores = {item.group: dict(item.scores) for item in result.items}
    assert scores["Algebra"] == {"math_equal,flexible": 1.0, "math_equal,strict": 1.0}
    assert scores["Geometry"] == {"math_equal,flexible": 0.0, "math_equal,strict": 0.0}
    assert {item.answer for item in result.items} == {"$0.5$", "(2,1)"}
    filters = result.settings["definition"]["filter_list"]
    assert "mathematics:answers_of" in str(filters), "the extraction is kept with the score"
    assert model.asked[0][0].count("Problem:") == 5
    assert model.asked[0][0].endswith("\n\nSolution:")
    assert "no boxed answer 1" in result.settings["notes"][0]


def test_the_500_problems_are_another_task_than_any_part_of_math(tmp_path):
    write_rows(tmp_path / "math_test.jsonl", MATH)
    assert mathematics.read_math500(tmp_path) is None
    write_rows(tmp_path / "math_splits" / "test.jsonl", [{**MATH[0], "unique_id": "x"}])
    assert len(mathematics.read_math500(tmp_path).tests) == 1
    result, model = run(
        "math500", tmp_path, lambda _: r"Half: \boxed{\dfrac12}", is_chat=True, shots=0
    )
    assert result.metrics["math_equal,flexible"].value == 1.0
    assert "boxed" in text_of(model.asked[0][0])


def test_math401_counts_what_lies_within_a_thousandth(tmp_path):
    rows = [
        {"query": "2**0.5=", "response": "1.4142"},
        {"query": "10/4=", "response": "2.5"},
        {"query": "?", "response": "x"},
    ]
    write_rows(tmp_path / "math401.json", rows)
    result, _ = run("math401", tmp_path, lambda p: "1.4149" if "**" in p else " 10/4 = 2.49")
    assert {item.prompt: item.scores["acc"] for item in result.items} == {"2**0.5=": 1, "10/4=": 0}


def test_math23k_is_read_from_objects_that_follow_each_other(tmp_path):
    rows = [
        {"id": "1", "original_text": "一半是多少？", "equation": "x=1/2", "ans": "((1)/(2))"},
        {"id": "2", "original_text": "百分之几？", "equation": "x=20%", "ans": "20%"},
    ]
    text = "\n".join(json.dumps(row, ensure_ascii=False, indent=4) for row in rows)
    (tmp_path / "math23k_test.json").write_text(text, encoding="utf-8")
    result, _ = run("math23k", tmp_path, lambda p: "答案是 0.5。" if "一半" in p else "是 20%。")
    assert result.metrics["acc"].value == 1.0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 7),
        ("2,001", 2001),
        ("-0.5", -0.5),
        ("3/4", 0.75),
        ("((3)/(4))", 0.75),
        ("1(1/2)", 1.5),
        ("12.5%", 0.125),
        ("34/5", 6.8),
        ("$5.", 5),
        ("1e-05", 1e-5),
        ("-1(1/2)", -1.5),
    ],
)
def test_numbers_are_read_in_the_forms_of_their_benchmarks(text, value):
    assert arithmetic.number_of(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "x", "1/0", "seven", "1 2 x", "()"])
def test_what_is_no_number_is_none(text):
    assert arithmetic.number_of(text) is None


def test_the_last_number_of_a_reply_is_its_answer():
    assert arithmetic.last_number("First 3, then 4: 12.") == 12
    assert arithmetic.last_number("costs $1,234.50 in all.") == 1234.5
    assert arithmetic.last_number("none") is None


BBH = [
    {"task": "navigate", "input": "Turn. Do you return?\nOptions:\n- Yes\n- No", "target": "No"},
    {"task": "hyperbaton", "input": "Which?\nOptions:\n(A) a\n(B) b", "target": "(B)"},
    {"task": "unheard_of", "input": "?", "target": "?"},
]


def test_bbh_is_asked_with_three_examples_and_two_extractions(tmp_path):
    write_rows(tmp_path / "bbh.jsonl", BBH)

    def reply(prompt):
        if prompt.rpartition("Q: ")[2].startswith("Turn"):
            return "We turn. So the answer is No."
        return "So the answer is **(B) b**."

    result, model = run("bbh", tmp_path, reply)
    by_kind = {item.group: dict(item.scores) for item in result.items}
    assert by_kind["navigate"] == {"exact_match,get-answer": 1.0, "exact_match,flexible": 1.0}
    assert by_kind["hyperbaton"] == {"exact_match,get-answer": 0.0, "exact_match,flexible": 1.0}
    prompt, options = model.asked[0]
    assert prompt.count("Q: ") == 4
    assert "Let's think step by step." in prompt
    assert options.stop == ("</s>", "Q", "\n\n")


@pytest.mark.parametrize(
    ("reply", "target", "found"),
    [
        ("So the answer is (B).", "(B)", "(B)"),
        ("The answer is B", "(B)", "(B)"),
        ("the answer is **(C) Friday**.", "(C)", "(C)"),
        ("the answer is (A). No, the answer is (D).", "(D)", "(D)"),
        ("the answer is Both of them", "(B)", "Both of them"),
        ("the answer is no.", "No", "No"),
        ("I think (B)", "(B)", "[invalid]"),
        ("the answer is 24.", "24", "24"),
        ("the answer is ] ) }.", "] ) }", "] ) }"),
    ],
)
def test_an_answer_is_undressed_but_not_guessed(reply, target, found):
    assert bbh.said_answer(reply, target) == found


def test_bbh_is_read_from_its_own_files(tmp_path):
    path = tmp_path / "bbh" / "navigate.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"canary": "x", "examples": [{"input": "a", "target": "Yes"}]}))
    found = bbh.read_bbh(tmp_path)
    assert [(row.task, row.group) for row in found.tests] == [
        ("bbh_cot_fewshot_navigate", "navigate")
    ]


def test_the_harness_has_the_published_examples_of_bbh():
    data = development_data()
    path = data / "benchmarks" / "bbh_cot_prompts.jsonl.gz" if data else Path("none")
    if not path.is_file():
        pytest.skip("needs bbh_cot_prompts in OPENQWEN_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        prompts = {row["task"]: row["prompt"] for row in map(json.loads, file)}
    assert sorted(prompts) == sorted(bbh.KINDS)
    for kind, prompt in prompts.items():
        found = bbh.definition(kind, is_chat=False)
        shown = "\n\n".join(
            f"Q: {one['input']}\nA: Let's think step by step.\n{one['target']}"
            for one in found["fewshot_config"]["samples"]
        )
        published = prompt.partition("-----\n")[2]
        assert (found["description"] + shown).split() == published.split(), kind


GAOKAO = [
    {"task": "2010-2022_History_MCQs", "question": "甲", "answer": ["C"], "index": 0, "score": 4},
    {"task": "2010-2022_Physics_MCQs", "question": "乙", "answer": ["AB"], "index": 0, "score": 6},
    {
        "task": "2010-2022_Geography_MCQs",
        "question": "丙",
        "answer": ["A", "D"],
        "index": 0,
        "score": 4,
    },
    {"task": "2010-2022_History_MCQs", "question": "丁", "answer": [], "index": 1, "score": 4},
]


def test_gaokao_weighs_by_points_and_gives_half_for_some_right_letters(tmp_path):
    write_rows(tmp_path / "gaokao_bench_objective.jsonl", GAOKAO)
    replies = {
        "甲": "【解析】A 不对<eoe>【答案】C<eoa>",
        "乙": "【答案】A<eoa>",
        "丙": "（1）【答案】A（2）【答案】B",
    }
    result, _ = run("gaokao_bench", tmp_path, lambda p: replies[p[-1]])
    # 4 of 4, 3 of 6, 4 of 8 points
    assert result.metrics["scoring_rate"].value == pytest.approx(11 / 18)
    assert result.metrics["acc"].value == pytest.approx((1 + 0 + 0.5) / 3)
    assert sorted(result.groups) == ["geography", "history", "physics"]
    assert {item.group: item.answer for item in result.items}["geography"] == ["A", "B"]


@pytest.mark.parametrize(
    ("reply", "kind", "count", "letters"),
    [
        ("A 不对，所以选 B", gaokao.ONE, 1, ["B"]),
        ("没有", gaokao.ONE, 1, []),
        ("【答案】 A C D <eoa> 其中 B 错", gaokao.LETTERS, 1, ["ACD"]),
        ("所以选AC", gaokao.LETTERS, 1, ["AC"]),
        ("（1）【答案】：B（2）【答案】C", gaokao.SEVERAL, 2, ["B", "C"]),
        ("B C D", gaokao.SEVERAL, 2, ["B", "C"]),
        ("【答案】 E F A B C D", gaokao.FIVE, 5, ["E", "F", "A", "B", "C"]),
    ],
)
def test_letters_are_read_as_the_kind_of_sheet_asks(reply, kind, count, letters):
    assert gaokao.extract(reply, kind, count) == letters


def test_a_sheet_with_too_few_answers_has_no_points():
    row = {"kind": gaokao.SEVERAL, "answer": ["A", "B"], "points": 2.0, "mean_points": 4.0}
    assert gaokao.score(row, ["A"]) == {"scoring_rate": 0.0, "acc": 0.0}
    assert gaokao.score(row, ["A", "B"]) == {"scoring_rate": 1.0, "acc": 1.0}
    physics = {"kind": gaokao.LETTERS, "answer": ["AB"], "points": 6.0, "mean_points": 6.0}
    assert gaokao.score(physics, ["AC"])["scoring_rate"] == 0.0
    assert gaokao.score(physics, [])["scoring_rate"] == 0.0


def test_gaokao_is_read_from_its_own_files(tmp_path):
    rows = {"keywords": "2010-2022_History_MCQs", "example": [GAOKAO[0], GAOKAO[3]]}
    path = tmp_path / "Objective_Questions" / "2010-2022_History_MCQs.json"
    path.parent.mkdir()
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    found = gaokao.read_gaokao(tmp_path)
    assert [row.group for row in found.tests] == ["history"]
    assert sum(found.set_aside.counts.values()) == 1


FUNCTIONS = {
    "python": ("def twice(x):\n", "    return 2 * x\n", "assert twice(2) == 4\n"),
    "javascript": (
        "const twice = (x) => {\n",
        "  return 2 * x;\n}\n",
        "console.assert(twice(2) === 4);\n",
    ),
    "java": (
        "class Solution {\n    public int twice(int x) {\n",
        "        return 2 * x;\n    }\n}\n",
        "public class Main { public static void main(String[] a) {\n"
        "if (new Solution().twice(2) != 4) throw new AssertionError(); } }\n",
    ),
    "cpp": (
        "#include <cassert>\nint twice(int x) {\n",
        "    return 2 * x;\n}\n",
        "int main() { assert(twice(2) == 4); }\n",
    ),
}


@pytest.mark.parametrize("language", FUNCTIONS)
def test_a_function_passes_in_its_language_and_a_wrong_one_does_not(language):
    if reason := can_run(language):
        pytest.skip(f"{language}: {reason}")
    judge = Judge(Responses(None))
    prompt, body, test = FUNCTIONS[language]
    row = {
        "prompt": prompt,
        "test": test,
        "setup": "",
        "stops": [],
        "language": language,
        "form": humaneval_pack.PACK,
    }
    for text, share in ((body, 1.0), (body.replace("2", "3"), 0.0), (body + "}}} junk\n", None)):
        program = humaneval_pack.tested(row, humaneval_pack.source_of(row, text))
        if share is None and language == "python":
            continue
        assert judge.shares([program]) == {"pass@1": 1.0 if share is None else share}
    if language in ("python", "javascript"):
        quits = "import sys; sys.exit(0)\n" if language == "python" else "process.exit(0);\n"
        program = humaneval_pack.tested(row, quits + prompt + body)
        assert judge.shares([program]) == {"pass@1": 0.0}


def test_humanevalpack_and_multipl_e_are_told_apart(tmp_path):
    pack = {
        "task_id": "Python/0",
        "declaration": "def f():\n",
        "prompt": 'def f():\n    """One."""\n',
        "test": "assert f() == 1",
    }
    write_rows(tmp_path / "python" / "data" / "humanevalpack.jsonl", [pack])
    found = humaneval_pack.read_pack(tmp_path)
    assert [row.values["form"] for row in found.tests] == [humaneval_pack.PACK]
    other = tmp_path / "other"
    rows = [
        {
            "name": "H_0",
            "language": "rs",
            "prompt": "fn f() {\n",
            "tests": "}\n",
            "stop_tokens": ["\n}"],
        },
        {"name": "H_1", "language": "cobol", "prompt": "f", "tests": "t"},
    ]
    write_rows(other / "humaneval_multi.jsonl", rows)
    found = humaneval_pack.read_pack(other)
    assert [(row.group, row.values["form"]) for row in found.tests] == [
        ("rust", humaneval_pack.MULTIPL_E)
    ]
    assert sum(found.set_aside.counts.values()) == 1


def test_a_language_without_its_compiler_is_left_out_and_told(tmp_path):
    lacking = [name for name in LANGUAGES if can_run(name)]
    if not lacking:
        pytest.skip("every compiler is here")
    code = LANGUAGES[lacking[0]].names[-1]
    rows = [
        {
            "task_id": "Python/0",
            "declaration": "d",
            "prompt": "def f():\n",
            "test": "assert f() == 1",
        },
        {"name": "H", "language": code, "prompt": "f {\n", "tests": "}\n", "stop_tokens": []},
    ]
    write_rows(tmp_path / "humaneval_multi.jsonl", rows)
    result, _ = run("humanevalpack", tmp_path, lambda _: "    return 1\n\ndef g(): pass")
    assert result.metrics["pass@1"].n == 1
    assert result.metrics["pass@1"].value == 1.0
    assert f"{lacking[0]}: 1 problems not run" in " ".join(result.settings["notes"])


def test_a_completion_is_cut_where_its_function_closes():
    assert cut_at_closing("int f() {\n", "  if (x) { return '}'; }\n  return 1;\n}\nint g() {") == (
        "  if (x) { return '}'; }\n  return 1;\n}\n"
    )
    assert cut_at_closing("class A {\n int f() {\n", " return 1; // }\n }\n}\nmore") == (
        " return 1; // }\n }\n}\n"
    )
    assert cut_at_closing("fn f<'a>() {\n", " 1\n}\nfn") == " 1\n}\n"
    assert language_of("rs") == "rust"
    assert language_of("cobol") is None


def test_humaneval_and_mbpp_are_asked_as_the_field_does(tmp_path):
    row = {
        "task_id": "HumanEval/0",
        "prompt": 'def one():\n    """One."""\n',
        "entry_point": "one",
        "test": "def check(c):\n    assert c() == 1\n",
    }
    write_rows(tmp_path / "HumanEval.jsonl.gz", [row])
    result, model = run("humaneval", tmp_path, lambda _: "    return 1\n")
    assert result.metrics["pass@1"].value == 1.0
    assert model.asked[0][0] == row["prompt"]
    assert model.asked[0][1].stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    assert result.items[0].id == "HumanEval/0"
    assert result.items[0].answer == row["prompt"] + "    return 1\n"
    block = "```python\ndef one():\n    return 1\n```"
    result, model = run("humaneval", tmp_path, lambda _: block, is_chat=True)
    assert result.metrics["pass@1"].value == 1.0
    assert row["prompt"] in text_of(model.asked[0][0])
    assert model.asked[0][0][-1] == {"role": "assistant", "content": "```python\n"}
    problem = {"task_id": 11, "text": "Give one.", "test_list": ["assert one() == 1"] * 3}
    write_rows(tmp_path / "mbpp.jsonl", [problem])
    result, model = run("mbpp", tmp_path, lambda _: "def one():\n    return 1\n[DONE]")
    assert result.metrics["pass@1"].value == 1.0
    assert model.asked[0][0].count("[BEGIN]") == 4
    assert model.asked[0][0].endswith("[BEGIN]\n")
    result, _ = run("mbpp", tmp_path, lambda _: block.replace("1", "2"), is_chat=True)
    assert result.metrics["pass@1"].value == 0.0


def test_a_missing_file_is_told_with_the_form_that_is_read(tmp_path):
    with pytest.raises(UserError, match=r"math401\.json \(query, response\)"):
        run("math401", tmp_path, str)


def test_every_published_value_has_its_source():
    for task in TASKS:
        for value in TASKS[task].published.values():
            assert 0 < value["value"] < 100
            assert "arXiv" in value["source"]
