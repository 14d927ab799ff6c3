"""The parts of self-instruct, each by itself: seeds, prompts, diversity, rules."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.diversity import RougePool, ShinglePool, rouge_l
from openqwen.agent.instruct.execution import find_programs, find_told_output
from openqwen.agent.instruct.filters import REASONS, Rules
from openqwen.agent.instruct.prompts import answer_prompt, parse_tasks, request_prompt, task_prompt
from openqwen.agent.instruct.sample import Sample
from openqwen.agent.instruct.seeds import Task, language_of, read_seeds
from openqwen.core.errors import UserError
from openqwen.core.ngrams import lcs_length, units
from openqwen.data.contamination.benchmark_index import BenchmarkIndex, BenchmarkItem
from openqwen.data.contamination.config import DecontaminateConfig
from openqwen.data.inputs.origin import SetAside

WORDS = st.lists(st.sampled_from("abcdef"), max_size=14)
TOOL = {
    "name": "get_weather",
    "description": "Weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
CALL = {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'}


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


def sample(instruction="Name three rivers in Asia.", answer="Ganges, Mekong and Lena.", **facts):
    messages = [
        {"role": "user", "content": instruction},
        {"role": "assistant", "content": answer},
    ]
    return Sample("r1-general-en-0000-00", "general", "en", instruction, messages, facts)


def test_seeds_of_all_forms_are_read_and_others_set_aside(tmp_path):
    rows = [
        {"id": "s1", "instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}]},
        {"instruction": "写一首诗", "input": "", "output": "春风"},
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]},
        {
            "conversations": [{"from": "human", "value": "天气怎么样，奥斯陆？"}, CALL],
            "tools": json.dumps([TOOL]),
        },
        {"conversations": [{"from": "human", "value": "Hi"}], "tools": json.dumps([TOOL])},
        {
            "id": "r3-general-en-0000-00",
            "messages": [{"role": "user", "content": "Sum up."}],
            "provenance": {"round": 3, "kind": "general"},
        },
        {"x": 1},
    ]
    set_aside = SetAside()
    seeds = read_seeds([write(tmp_path / "seeds.jsonl", rows)], set_aside)
    english, _ = seeds.of("en")
    assert [(t.id, t.instruction, t.input, t.output) for t in english] == [
        ("s1", "Add.", "1 2", "3"),
        ("seeds/2", "Hi", "", "Yo"),
        ("r3-general-en-0000-00", "Sum up.", "", ""),
    ]
    chinese, requests = seeds.of("zh")
    assert [task.instruction for task in chinese] == ["写一首诗"]
    assert [(r.query, r.used, r.tools[0]["name"]) for r in requests] == [
        ("天气怎么样，奥斯陆？", "get_weather", "get_weather")
    ]
    assert (seeds.own, seeds.max_round) == ({"r3-general-en-0000-00"}, 3)
    assert set_aside.counts == {
        "tools, but the first answer calls none of them": 1,
        "no messages, conversations or instruction": 1,
    }
    with pytest.raises(UserError, match="no seed in it"):
        read_seeds([write(tmp_path / "none.jsonl", [{"x": 1}])], SetAside())


def test_a_text_is_chinese_by_its_letters():
    assert language_of("用 Python 写一个函数，返回列表的和") == "zh"
    assert language_of("What does 你好 mean in English?") == "en"
    assert language_of("123") == "en"


def test_a_prompt_numbers_its_tasks_and_ends_where_the_next_begins():
    examples = [Task("a", "en", "Add.", "1 2"), Task("b", "en", "Sing.")]
    prompt, stop = task_prompt(examples, "en", new=2)
    assert "Task 1\nInstruction: Add.\nInput: 1 2\n\nTask 2\nInstruction: Sing.\nInput: none" in (
        prompt
    )
    assert prompt.endswith("\n\nTask 3\nInstruction:")
    assert stop == "\nTask 5"


@pytest.mark.parametrize("language", ["en", "zh"])
def test_tasks_that_a_prompt_shows_are_read_back(language):
    chosen = random.Random(0)
    tasks = [Task(str(i), language, f"do {i} {chosen.random()}", "x y" * (i % 2)) for i in range(5)]
    prompt, _ = task_prompt(tasks, language, new=1)
    word = "Instruction:" if language == "en" else "指令："
    begun = prompt.split(word, 1)[1].rsplit(word, 1)[0]
    found = parse_tasks(begun, language, is_whole=True)
    assert found[:5] == [(task.instruction, task.input) for task in tasks]


def test_a_reply_that_was_cut_loses_its_last_task_only():
    reply = " Name a fruit.\nInput: none\n\nTask 10\nInstruction: Write a sto"
    assert parse_tasks(reply, "en", is_whole=False) == [("Name a fruit.", ""), ("", "")]
    assert parse_tasks(" Sum up. Input: none", "en", is_whole=True) == [("Sum up.", "")]
    told = " Add.\nInput: 1 2\nAnswer: 3"
    assert parse_tasks(told, "en", is_whole=True) == [("Add.", "1 2")]


def test_a_base_model_sees_answers_and_a_chat_model_the_question_alone():
    task = Task("t", "zh", "翻译", "猫")
    assert answer_prompt(task, [], form="chat") == [{"role": "user", "content": "翻译\n猫"}]
    shown = answer_prompt(task, [Task("a", "zh", "相加", "1 2", "3")], form="text")
    assert "指令： 相加\n输入： 1 2\n回答： 3" in shown
    assert shown.endswith("指令： 翻译\n输入： 猫\n回答：")


def test_a_request_prompt_names_the_tools_and_the_one_to_use():
    prompt = request_prompt([], [TOOL], "get_weather", "en")
    assert "- get_weather(city): Weather\nTool needed: get_weather\nRequest:" in prompt


def naive_lcs(one, other):
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i, a in enumerate(one):
        for j, b in enumerate(other):
            best = max(rows[i][j + 1], rows[i + 1][j])
            rows[i + 1][j + 1] = rows[i][j] + 1 if a == b else best
    return rows[-1][-1]


@given(WORDS, WORDS)
def test_the_bit_parallel_subsequence_is_the_table_s(one, other):
    assert lcs_length(one, other) == naive_lcs(one, other)


@given(st.lists(WORDS, min_size=1, max_size=8), WORDS)
def test_the_bounds_never_hide_the_nearest(others, own):
    pool = RougePool()
    for place, other in enumerate(others):
        pool.add(str(place), " ".join(other))
    scores = [rouge_l(units(" ".join(own)), units(" ".join(other))) for other in others]
    found = pool.nearest(" ".join(own), above=0.4)
    assert (found is None) == (max(scores) <= 0.4)
    if found is not None:
        assert found[0] == max(scores)
    assert pool.num_compared <= len(others)


def test_rouge_is_the_one_of_the_field_and_counts_chinese_by_characters():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(["rougeL"])
    pairs = [
        ("Write a poem about the summer sun.", "Write a short poem about winter."),
        ("Sort these numbers.", "Sort the numbers 3, 1 and 2 in descending order."),
    ]
    for one, other in pairs:
        expected = scorer.score(one, other)["rougeL"].fmeasure
        assert rouge_l(units(one), units(other)) == pytest.approx(expected)
    assert rouge_l(units("写一首诗"), units("写一首歌")) == 0.75


def test_shingles_find_a_near_copy_exactly():
    pool = ShinglePool()
    text = "one two three four five six seven eight nine ten"
    pool.add("a", text)
    assert pool.nearest(text.upper() + "!") == (1.0, "a")
    score, whose = pool.nearest(text + " eleven")
    assert (score, whose) == (6 / 7, "a")
    assert pool.nearest("something else altogether, with six words") == (0.0, "")


BAD = [
    (sample(instruction="写一首关于春天的诗"), "another language"),
    (sample(instruction="Sing."), "instruction too short"),
    (sample(instruction="word " * 200), "instruction too long"),
    (sample(instruction="Describe this image in two words."), "needs what text can't give"),
    (sample(instruction="Sum up the given text in one line."), "input missing"),
    (sample(answer="name three rivers in Asia"), "repeats the question"),
    (sample(instruction="Input: none of the above"), "template left in it"),
    (sample(instruction="Name three rivers in Asia \ufffd"), "not readable"),
    (sample(instruction="Name five lakes in Africa."), "too similar"),
    (sample(answer=" "), "no answer"),
    (sample(answer="Ganges and", finish_reason="length"), "cut off"),
    (sample(answer="As an AI language model, I know rivers."), "speaks of itself"),
    (sample(answer="la " * 20), "repeats itself"),
    (sample(answer="Ganges river\n" * 6), "repeats itself"),
    (sample(answer="1. Ganges\n2. Lena\n3. Ganges\n4. Lena\n5. Ganges"), "repeats itself"),
    (sample(answer="Ask li.wei@corp.cn."), "personal data"),
    (sample(answer="the quick brown fox jumps over the lazy dog near a river bank"), "benchmark"),
]


def judged(rules, made):
    return rules.judge_instruction(made.instruction, made.language) or rules.judge(made)


@pytest.mark.parametrize(("made", "reason"), BAD, ids=[f"{i} {r}" for i, (_, r) in enumerate(BAD)])
def test_each_rule_drops_what_it_is_for(made, reason):
    config = DecontaminateConfig(ngram=8)
    text = "The quick brown fox jumps over the lazy dog near a river bank."
    rules = Rules(InstructConfig(), BenchmarkIndex.build([BenchmarkItem("b", "1", text)], config))
    rules.rouge.add("seed", "Name four lakes in Africa.")
    assert judged(rules, sample()) is None
    found = judged(rules, made)
    assert found is not None
    assert found[0] == reason
    assert reason in REASONS


def test_what_is_kept_is_compared_with_what_follows():
    rules = Rules(InstructConfig(max_rouge=0.99), None)
    rules.keep(sample())
    assert rules.judge(sample())[0] == "duplicate"
    near = sample(instruction="Name three big rivers in Asia.", answer="Ganges, Mekong and Lena.")
    assert rules.judge(near) is None
    rules = Rules(InstructConfig(max_jaccard=0.2), None)
    rules.keep(sample())
    assert rules.judge(near)[0] == "near-duplicate"


def test_python_fences_are_programs_and_others_are_not():
    answer = "First:\n```python\nx = 1\n```\nthen\n```bash\nls\n```\n```py\nprint(x)\n```"
    assert find_programs(answer) == ["x = 1", "print(x)"]
    assert find_programs("no code") == []


def test_what_a_program_is_said_to_print_is_the_fence_after_it():
    code = "```python\nprint(1)\n```\nIt prints:\n"
    assert find_told_output(code + "```\n1\n```") == "1"
    assert find_told_output(code + "```bash\nls\n```") == ""
    assert find_told_output("```\n1\n```\n" + code) == ""


def test_a_task_ends_where_the_model_goes_on_with_an_output():
    assert parse_tasks(" 分类。\n输入： 猫\n输出： 动物", "zh", is_whole=True) == [("分类。", "猫")]
