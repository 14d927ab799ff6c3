"""A small trained vocabulary, the texts it learnt from, and the recorded cases."""

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from openqwen.core.fetch import fetch_pypi_file
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.train import train_ranks

settings.register_profile("unhurried", deadline=None)  # a busy machine is no defect
settings.load_profile("unhurried")

DATA = Path(__file__).parent / "data"
NUM_RANKS = 1_200

VOCABULARIES = {
    "en": "the quick brown fox doesn't jump over lazy dogs because it's tired and we'll see",
    "de": "über größere Straßen fährt man schöner müde Bäcker heißen Jürgen",
    "ru": "быстрая коричневая лиса перепрыгивает через ленивую собаку потому что",
    "ar": "الثعلب البني السريع يقفز فوق الكلب الكسول",
    "th": "สุนัข จิ้งจอก สีน้ำตาล กระโดด ข้าม",
    "ko": "빠른 갈색 여우가 게으른 개를 뛰어넘는다",
    "zh": "敏捷 的 棕色 狐狸 跳过 了 懒狗 。 因为 它 很 累 ， 我们 明天 再 见",
    "code": "def return self.x = [i for i in range(10)] if not None else {'a': 1}",
}


def synthetic_texts(count: int, seed: int) -> list[str]:
    """Return lines of words of one language each, with numbers, code-like indents and emoji."""
    draw = random.Random(seed)
    texts = []
    for _ in range(count):
        language = draw.choice(sorted(VOCABULARIES))
        gap = "" if language in ("zh", "th") else " "
        words = draw.choices(VOCABULARIES[language].split(), k=draw.randint(5, 60))
        for extra in (str(draw.randint(0, 10**6)), "😀", "\n    ", "!?", "\r\n\r\n"):
            words.insert(draw.randrange(len(words)), extra)
        texts.append(gap.join(words))
    return texts


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return synthetic_texts(400, seed=1)


@pytest.fixture(scope="session")
def tokenizer(texts: list[str]) -> Tokenizer:
    return Tokenizer(train_ranks(iter(texts), NUM_RANKS))


@pytest.fixture(scope="session")
def saved(tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("vocabulary")
    tokenizer.save(directory)
    return directory


@pytest.fixture(scope="session")
def qwen_file() -> Path:
    return fetch_pypi_file("dashscope", "2.0.2", "dashscope/resources/qwen.tiktoken")


@pytest.fixture(scope="session")
def qwen(qwen_file: Path) -> Tokenizer:
    return Tokenizer.from_file(qwen_file)


@pytest.fixture(scope="session")
def cases() -> Callable[[str], list[dict[str, Any]]]:
    """Return a reader of recorded cases by file name."""

    def read(name: str) -> list[dict[str, Any]]:
        lines = gzip.decompress((DATA / f"{name}.jsonl.gz").read_bytes()).decode().splitlines()
        return [json.loads(line) for line in lines]

    return read
