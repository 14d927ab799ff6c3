"""Tags of a prompt by rules: language, task, form asked for, subject, turns, length (§3.2.1).

    tags_of([{"role": "user", "content": "Write a poem about rain."}])
    # ("en", "form:poem", "length:1", "task:write", "topic:nature", "turns:1")

The report's tag system has about 6,600 tags and is not published; these few dozens stand in for it
where data brings no tags of its own.
"""

import re
from collections.abc import Sequence

from openqwen.core.documents import Message

_CHINESE = re.compile(r"[一-鿿]")
LENGTH_STEPS = (40, 120, 400, 1200)  # characters of the last question
# tag -> words, English ones matched as whole words, Chinese ones anywhere
WORDS: dict[str, tuple[str, ...]] = {
    "task:write": ("write", "compose", "create", "draft", "写", "创作", "撰写"),
    "task:explain": (
        "explain",
        "describe",
        "what is",
        "what are",
        "解释",
        "描述",
        "什么是",
        "介绍",
    ),
    "task:list": ("list", "name", "give me", "suggest", "列出", "列举", "给出", "推荐"),
    "task:translate": ("translate", "翻译"),
    "task:summarise": ("summarize", "summarise", "summary", "总结", "概括", "摘要"),
    "task:classify": ("classify", "categorize", "identify", "分类", "判断", "识别"),
    "task:compare": ("compare", "difference", "contrast", "比较", "区别", "对比"),
    "task:rewrite": ("rewrite", "edit", "paraphrase", "correct", "改写", "修改", "改正"),
    "task:compute": ("calculate", "compute", "solve", "how many", "计算", "求解", "多少"),
    "task:code": ("code", "function", "python", "sql", "program", "代码", "编程", "函数"),
    "task:plan": ("plan", "steps", "how to", "how do", "计划", "步骤", "如何", "怎么"),
    "task:advise": ("should", "advice", "tips", "recommend", "建议", "怎样"),
    "task:call-tool": ("tool", "search", "find", "book", "查找", "搜索", "预订"),
    "form:poem": ("poem", "haiku", "verse", "诗"),
    "form:story": ("story", "tale", "dialogue", "故事", "小说", "对话"),
    "form:letter": ("letter", "email", "mail", "信", "邮件"),
    "form:table": ("table", "表格"),
    "form:json": ("json", "xml", "csv"),
    "form:sentence": ("sentence", "phrase", "一句话", "句子"),
    "form:essay": ("essay", "article", "paragraph", "report", "文章", "段落", "报告"),
    "topic:science": ("physics", "chemistry", "biology", "scientific", "物理", "化学", "科学"),
    "topic:health": ("health", "doctor", "disease", "exercise", "健康", "疾病", "运动", "医"),
    "topic:business": ("business", "company", "market", "customer", "公司", "市场", "客户"),
    "topic:history": ("history", "war", "century", "历史", "世纪", "朝代"),
    "topic:nature": ("animal", "plant", "rain", "climate", "environment", "动物", "植物", "环境"),
    "topic:food": ("food", "recipe", "cook", "restaurant", "食物", "菜", "餐"),
    "topic:travel": ("travel", "city", "country", "trip", "旅行", "城市", "国家"),
    "topic:technology": ("computer", "software", "internet", "电脑", "软件", "人工智能", "技术"),
    "topic:language": ("word", "grammar", "synonym", "词", "语法", "成语"),
    "topic:people": ("friend", "family", "love", "朋友", "家庭", "爱"),
    "topic:money": ("price", "money", "invest", "dollar", "价格", "钱", "投资"),
    "topic:safety": ("kill", "weapon", "hack", "steal", "杀", "炸弹", "毒", "偷"),
}


def tags_of(messages: Sequence[Message]) -> tuple[str, ...]:
    """Return a prompt's tags, sorted; the last user message decides, with the number of turns."""
    asked = [m["content"] for m in messages if m["role"] == "user"]
    question = asked[-1].lower() if asked else ""
    is_chinese = len(_CHINESE.findall(question)) > 0.15 * max(1, len(question))
    tags = {"zh" if is_chinese else "en", f"turns:{min(len(asked), 4)}"}
    tags.add(f"length:{sum(len(question) > step for step in LENGTH_STEPS)}")
    words = f" {' '.join(re.findall(r'[a-z]+', question))} "
    for tag, known in WORDS.items():
        if any(f" {w} " in words if w.isascii() else w in question for w in known):
            tags.add(tag)
    return tuple(sorted(tags))


def complexity_of(tags: Sequence[str]) -> int:
    """Return how much a prompt asks for: its tags of task, form and topic, and its length class."""
    length = next((int(tag[-1]) for tag in tags if tag.startswith("length:")), 0)
    return length + sum(tag.startswith(("task:", "form:", "topic:")) for tag in tags)
