"""Small documents and pages that several tests of the documents stage share."""

from openqwen.core.documents import Document, Page

GOOD_CHINESE = """黄山的四季

黄山位于安徽省南部，以奇松、怪石、云海和温泉闻名。春天，山坡上的杜鹃花开了，游人从各地赶来，沿着石阶慢慢地往上走。
清晨的雾气还没有散去，松树在风里轻轻地摇动，好像在和远处的山峰说话。

夏天的时候，山里比城里凉快得多。人们喜欢在溪水旁边休息，听鸟儿歌唱，也喜欢在夜里看满天的星星。当地的老人说，过去这里没有公路，
他们要走上两天才能到达山顶，如今坐缆车只需要十分钟就可以了。

秋天是最好的季节。树叶变成了红色和金色，天空也显得特别高远。到了冬天，雪把整座山盖住，虽然寒冷，却有一种安静的美。"""

GOOD_ENGLISH = """The tide tables

Every harbour keeps a table of its tides, and for most of history that table was the work of one
patient person. The keeper watched a marked post for years and wrote down the height of the water
at each hour of the day. From those notes the next year could be foretold, though never exactly.

The moon does most of the work, and the sun helps or hinders it. When both pull in one line the
water rises high; when they stand at a right angle to each other the difference is small. Wind and
the shape of the coast do the rest, which is why two towns a short walk apart may have different
tides, and why a sailor who trusts the wrong table will find his boat on the sand in the morning."""

GOOD_CODE = '''"""Counting words in files."""

import sys
from collections import Counter
from pathlib import Path


def count_words(path: Path) -> Counter[str]:
    """Return how often each word stands in a file."""
    counts: Counter[str] = Counter()
    for line in path.read_text().splitlines():
        counts.update(line.lower().split())
    return counts


if __name__ == "__main__":
    for word, number in count_words(Path(sys.argv[1])).most_common(10):
        print(f"{number:6} {word}")
'''


def document(text: str, id: str = "s/1", **facts: object) -> Document:
    """Return a document; English prose of source "s" unless told otherwise."""
    given = {"source": id.split("/")[0], "url": "", "licence": "CC0-1.0", "media": "text/plain"}
    return Document(**(given | {"id": id, "text": text, "language": "en"} | facts))  # type: ignore[arg-type]


def code(text: str, id: str = "c/1") -> Document:
    """Return a source file."""
    return document(text, id, media="text/x-python", language="")


def conversation(question: str, answer: str, id: str = "i/1") -> Document:
    """Return a conversation of one turn."""
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    media = "application/x-messages+json"
    return document(f"{question}\n{answer}", id, media=media, messages=messages)


def page(content: bytes | str, id: str = "s/1", media: str = "text/html") -> Page:
    """Return a raw page."""
    raw = content.encode() if isinstance(content, str) else content
    return Page(id, id.split("/")[0], f"https://example.org/{id}", "CC0-1.0", media, raw)
