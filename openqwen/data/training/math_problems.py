"""Arithmetic and word problems with worked answers, in English and Chinese (§5).

    problems = make_problems(2000, seed=0)
    read_answer("so the answer is 1,042.")                 # "1042"

The report augments its math instructions and gives no set; these are made by rules. A problem's
numbers and kind decide its split, so that no held-out sum stands in training in other words.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from openqwen.data.draw import draw
from openqwen.data.training.conversation_rows import BadRowError, text
from openqwen.data.training.conversations import Conversation

LANGUAGES = ("en", "zh")
HELD_OUT_SHARE = 0.15
SOURCE = "math-problems"
LICENCE = "Apache-2.0"

NAMES = {
    "en": ("Ada", "Ben", "Chen", "Dina", "Emil", "Fatima", "Goran", "Hana", "Ivan", "Julia"),
    "zh": ("小明", "小红", "李雷", "王芳", "小刚", "丽丽", "阿强", "小雪", "大伟", "佳佳"),
}
THINGS = {
    "en": ("apples", "books", "coins", "stamps", "cards", "pens", "shells", "cakes"),
    "zh": ("个苹果", "本书", "枚硬币", "张邮票", "张卡片", "支笔", "个贝壳", "块蛋糕"),
}
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:/\d+)?")
BOXED = re.compile(r"\\boxed\{([^{}]*)\}")
GSM8K_MARK = "####"


@dataclass(frozen=True, slots=True)
class Problem:
    """A question, its worked answer and the number that decides; `split` train or validation."""

    id: str
    prompt: str
    solution: str
    answer: str
    kind: str
    split: str

    def as_conversation(self) -> Conversation:
        """Return question and worked answer as a conversation."""
        messages = [
            {"role": "user", "content": self.prompt},
            {"role": "assistant", "content": self.solution},
        ]
        return Conversation(self.id, SOURCE, LICENCE, messages, self.split)


# what a maker returns: question, working, result
Made = tuple[str, str, int]
Maker = Callable[[np.random.Generator, str], Made]


def make_problems(num: int, *, seed: int, languages: Sequence[str] = LANGUAGES) -> list[Problem]:
    """Return `num` different problems, kinds and languages in turn.

    Args:
        num: how many; fewer come only where the kinds have no more.
        seed: of the numbers, names and things.
        languages: of "en" and "zh".
    """
    rng = np.random.default_rng([seed, 5])
    kinds = list(MAKERS)
    found: dict[str, Problem] = {}
    for attempt in range(20 * num):
        if len(found) == num:
            break
        kind = kinds[attempt % len(kinds)]
        language = languages[attempt // len(kinds) % len(languages)]
        question, working, result = MAKERS[kind](rng, language)
        if question in found:
            continue
        numbers = " ".join(sorted(re.findall(r"\d+", question)))
        held = draw(seed, "math", f"{kind} {numbers}") < HELD_OUT_SHARE
        found[question] = Problem(
            f"{SOURCE}/{len(found)}",
            question,
            f"{working}{_closing(language, result)}",
            str(result),
            kind,
            "validation" if held else "train",
        )
    return list(found.values())


def problem_of_row(row: dict[str, object], id: str) -> Problem:
    """Return a row of GSM8K's form (question, and answer ending in `#### 42`) as a problem.

    Raises:
        BadRowError: if it has another form.
    """
    question, solution = text("question", row.get("question")), text("answer", row.get("answer"))
    if GSM8K_MARK not in solution:
        raise BadRowError("answer without ####")
    answer = read_answer(solution)
    if answer is None:
        raise BadRowError("answer without a number")
    return Problem(id, question, solution, answer, "gsm8k", "train")


def read_answer(reply: str) -> str | None:
    """Return the number a reply ends with, in plain form, or None where there is none.

    What stands behind `####` or in `\\boxed{}` goes first; else the last number counts. Commas
    between digits, currency and percent signs and a final point do not.
    """
    if GSM8K_MARK in reply:
        reply = reply.rsplit(GSM8K_MARK, 1)[1]
    elif boxed := BOXED.findall(reply):
        reply = boxed[-1]
    found = NUMBER.findall(reply)
    return plain_number(found[-1]) if found else None


def plain_number(number: str) -> str:
    """Return a number without commas, needless zeros behind the point, or a leading plus."""
    number = number.replace(",", "")
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return "0" if number in ("-0", "") else number


def _closing(language: str, result: int) -> str:
    return f"答案是{result}。" if language == "zh" else f"The answer is {result}."


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _number(rng: np.random.Generator, low: int, high: int) -> int:
    return int(rng.integers(low, high + 1))


def _ask(rng: np.random.Generator, language: str, expression: str) -> str:
    asked = {
        "en": ("What is {}?", "Compute {}.", "Please work out {}.", "{} = ?"),
        "zh": ("{}等于多少？", "计算{}。", "请算一算：{}", "{} = ?"),
    }
    return _pick(rng, asked[language]).format(expression)


def _add_small(rng: np.random.Generator, language: str) -> Made:
    a, b = _number(rng, 0, 20), _number(rng, 0, 20)
    return _ask(rng, language, f"{a} + {b}"), f"{a} + {b} = {a + b}. ", a + b


def _subtract_small(rng: np.random.Generator, language: str) -> Made:
    b, rest = _number(rng, 0, 20), _number(rng, 0, 20)
    a = b + rest
    return _ask(rng, language, f"{a} - {b}"), f"{a} - {b} = {rest}. ", rest


def _multiply_small(rng: np.random.Generator, language: str) -> Made:
    a, b = _number(rng, 1, 12), _number(rng, 1, 12)
    return _ask(rng, language, f"{a} × {b}"), f"{a} × {b} = {a * b}. ", a * b


def _add_large(rng: np.random.Generator, language: str) -> Made:
    a, b = _number(rng, 21, 999), _number(rng, 21, 999)
    tens, ones = b - b % 10, b % 10
    working = f"{a} + {tens} = {a + tens}. {a + tens} + {ones} = {a + b}. "
    return _ask(rng, language, f"{a} + {b}"), working, a + b


def _compare(rng: np.random.Generator, language: str) -> Made:
    a, b = _number(rng, 10, 999), _number(rng, 10, 999)
    sign = ">" if a > b else "<" if a < b else "="
    asked = {"en": f"Which is larger, {a} or {b}?", "zh": f"{a}和{b}哪个大？"}
    return asked[language], f"{a} {sign} {b}. ", max(a, b)


def _gives_away(rng: np.random.Generator, language: str) -> Made:
    rest, given = _number(rng, 1, 60), _number(rng, 1, 39)
    had = rest + given
    name, other = _pick(rng, NAMES[language]), _pick(rng, NAMES[language])
    thing = _pick(rng, THINGS[language])
    asked = {
        "en": f"{name} has {had} {thing} and gives {given} of them to {other}. "
        f"How many does {name} still have?",
        "zh": f"{name}有{had}{thing}，送给{other}{given}{thing[0]}，{name}还剩多少{thing}？",
    }
    return asked[language], f"{had} - {given} = {rest}. ", rest


def _buys_more(rng: np.random.Generator, language: str) -> Made:
    had, bags, each = _number(rng, 1, 30), _number(rng, 2, 9), _number(rng, 2, 12)
    name, thing = _pick(rng, NAMES[language]), _pick(rng, THINGS[language])
    asked = {
        "en": f"{name} has {had} {thing} and buys {bags} bags with {each} {thing} each. "
        f"How many {thing} does {name} have now?",
        "zh": f"{name}有{had}{thing}，又买了{bags}袋，每袋{each}{thing}。"
        f"{name}现在一共有多少{thing}？",
    }
    bought = bags * each
    working = f"{bags} × {each} = {bought}. {had} + {bought} = {had + bought}. "
    return asked[language], working, had + bought


def _shares(rng: np.random.Generator, language: str) -> Made:
    each, friends = _number(rng, 2, 12), _number(rng, 2, 9)
    total = each * friends
    name, thing = _pick(rng, NAMES[language]), _pick(rng, THINGS[language])
    asked = {
        "en": f"{name} shares {total} {thing} equally among {friends} friends. "
        f"How many does each friend get?",
        "zh": f"{name}把{total}{thing}平均分给{friends}个朋友，每人得到多少{thing}？",
    }
    return asked[language], f"{total} ÷ {friends} = {each}. ", each


MAKERS: dict[str, Maker] = {
    "add_small": _add_small,
    "subtract_small": _subtract_small,
    "multiply_small": _multiply_small,
    "compare": _compare,
    "add_large": _add_large,
    "gives_away": _gives_away,
    "buys_more": _buys_more,
    "shares": _shares,
}
