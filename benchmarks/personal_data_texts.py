"""Sentences with planted personal data and with look-alikes, for the rules study.

    for planted in planted_texts(): planted.text, planted.spans      # [(start, end, kind)]

Numbers are drawn with check digits worked out here, apart from the finders' own arithmetic.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

SENTENCES = (
    "Please contact us at {} before Friday.",
    "{} is what the form says.",
    "The record (see {}) was updated by the clerk.",
    "请联系{}，谢谢。",
    "本人资料：{}，已核实",
    "如有问题请发至{}或到前台登记",
)
ANNOUNCED = ("Phone: {}.", "tel {} (office)", "电话：{}", "手机{}，微信同号")
CARD_SENTENCES = (
    "My card number is {}.",
    "信用卡卡号{}。",
    "VISA {} exp 12/27",
    "银行卡：{}，户名略",
)


@dataclass
class Planted:
    """A text and where its personal data stands."""

    text: str
    spans: list[tuple[int, int, str]]


def planted_texts(each: int = 60, seed: int = 0) -> Iterator[Planted]:
    """Yield `each` texts of every kind of personal data."""
    generator = random.Random(seed)
    for kind, (make, sentences) in KINDS.items():
        for number in range(each):
            value = make(generator)
            before, after = sentences[number % len(sentences)].split("{}")
            start = len(before)
            yield Planted(f"{before}{value}{after}", [(start, start + len(value), kind)])


def look_alikes(each: int = 40, seed: int = 1) -> Iterator[str]:
    """Yield texts with what must stay: versions, hashes, dates, ISBNs, examples, broken numbers."""
    generator = random.Random(seed)
    for make in LOOK_ALIKES:
        for number in range(each):
            yield SENTENCES[number % len(SENTENCES)].format(make(generator))


def _digits(generator: random.Random, count: int) -> str:
    return "".join(generator.choice("0123456789") for _ in range(count))


def _email(generator: random.Random) -> str:
    name = generator.choice(("li.wei", "anna_k", "j-smith", "zhang" + _digits(generator, 3), "o"))
    host = generator.choice(("mail.ru", "qq.com", "uni-koeln.de", "a.b.co.uk", "corp.com.cn"))
    return f"{name}@{host}"


def _phone(generator: random.Random) -> str:
    mobile = "1" + generator.choice(("38", "39", "50", "86", "77", "99")) + _digits(generator, 8)
    return generator.choice(
        (
            f"+86 {mobile}",
            f"+44 20 7{_digits(generator, 3)} {_digits(generator, 4)}",
            f"+49-30-{_digits(generator, 7)}",
            f"(4{_digits(generator, 1)}5) 7{_digits(generator, 2)}-{_digits(generator, 4)}",
            f"{mobile[:3]}-{mobile[3:7]}-{mobile[7:]}",
            f"0{generator.choice(('10', '21', '755'))}-6{_digits(generator, 7)}",
        )
    )


def _announced_phone(generator: random.Random) -> str:
    mobile = "1" + generator.choice(("38", "39", "50", "86")) + _digits(generator, 8)
    return generator.choice((mobile, f"030 {_digits(generator, 3)} {_digits(generator, 5)}"))


def _chinese_id(generator: random.Random) -> str:
    area = generator.choice(("110105", "310115", "440305", "510104"))
    born = (
        f"{generator.randint(1950, 2009)}{generator.randint(1, 12):02}{generator.randint(1, 28):02}"
    )
    body = area + born + _digits(generator, 3)
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(d) * w for d, w in zip(body, weights, strict=True))
    return body + "10X98765432"[total % 11]


def _luhn(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        value = int(digit) * (2 if place % 2 == 0 else 1)
        total += value - 9 if value > 9 else value
    return body + str(-total % 10)


def _card(generator: random.Random) -> str:
    number = _luhn(generator.choice(("4", "4", "6")).replace("6", "62") + _digits(generator, 13))
    number = (
        _luhn(number[:-1] + _digits(generator, 16 - len(number))) if len(number) < 16 else number
    )
    joiner = generator.choice(("", " ", "-"))
    return joiner.join(number[i : i + 4] for i in range(0, 16, 4))


def _ssn(generator: random.Random) -> str:
    area, group, serial = (generator.randint(1, most) for most in (665, 99, 9999))
    return f"{area:03}-{group:02}-{serial:04}"


def _iban(generator: random.Random) -> str:
    body = _digits(generator, 18)
    check = 98 - int(f"{body}131400") % 97  # D is 13, E is 14
    number = f"DE{check:02}{body}"
    if generator.random() < 0.5:
        return number
    return " ".join(number[i : i + 4] for i in range(0, len(number), 4))


def _ip(generator: random.Random) -> str:
    first = generator.choice((31, 46, 59, 61, 93, 114, 121, 183, 202, 218))
    rest = (generator.randint(1, 254), generator.randint(1, 254), generator.randint(40, 254))
    return ".".join(map(str, (first, *rest)))


KINDS: dict[str, tuple[Callable[[random.Random], str], tuple[str, ...]]] = {
    "email": (_email, SENTENCES),
    "phone": (_phone, SENTENCES),
    "phone, announced": (_announced_phone, ANNOUNCED),
    "chinese_id": (_chinese_id, SENTENCES),
    "card": (_card, CARD_SENTENCES),
    "ssn": (_ssn, SENTENCES),
    "iban": (_iban, SENTENCES),
    "ip": (_ip, SENTENCES),
}


def _wrong_check(make: Callable[[random.Random], str]) -> Callable[[random.Random], str]:
    """Return a maker of numbers whose second-last digit is one too high."""

    def made(generator: random.Random) -> str:
        number = make(generator).replace(" ", "").replace("-", "")
        return number[:-2] + str((int(number[-2]) + 1) % 10) + number[-1]

    return made


LOOK_ALIKES: tuple[Callable[[random.Random], str], ...] = (
    lambda g: f"v{g.randint(1, 9)}.{g.randint(0, 29)}.{g.randint(0, 29)}.{g.randint(0, 29)}",
    lambda g: f"version 10.{g.randint(30, 99)}.{g.randint(0, 99)}.{g.randint(30, 99)}",
    lambda g: f"{g.getrandbits(160):040x}",
    lambda g: f"{g.randint(1990, 2030)}-{g.randint(1, 12):02}-{g.randint(1, 28):02}",
    lambda g: f"{g.randint(1990, 2030)}{g.randint(1, 12):02}{g.randint(1, 28):02}{_digits(g, 6)}",
    lambda g: f"ISBN 978-7-{_digits(g, 3)}-{_digits(g, 5)}-{_digits(g, 1)}",
    lambda g: f"{g.choice(('user', 'admin', 'bob'))}@example.{g.choice(('com', 'org', 'net'))}",
    lambda g: f"192.168.{g.randint(0, 255)}.{g.randint(1, 254)}",
    lambda g: f"{g.choice(('192.0.2', '198.51.100', '203.0.113'))}.{g.randint(1, 254)}",
    lambda g: (
        f"{g.choice(('vue', 'react'))}@{g.randint(1, 9)}.{g.randint(0, 20)}.{g.randint(0, 9)}"
    ),
    lambda g: f"17{_digits(g, 11)}",  # milliseconds since 1970
    lambda g: f"0x{_digits(g, 11)}",
    lambda g: f"$1{_digits(g, 2)},{_digits(g, 3)},{_digits(g, 3)}.{_digits(g, 2)}",
    lambda g: f"10.{_digits(g, 4)}/j.cell.{_digits(g, 4)}.{_digits(g, 2)}.{_digits(g, 3)}",
    _wrong_check(_chinese_id),
    _wrong_check(_iban),
    lambda g: f"202-555-01{_digits(g, 2)}",
    lambda g: f"#{_digits(g, 16)}",  # an order
)
