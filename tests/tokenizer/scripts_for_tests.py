"""Random text in many scripts, for tests that hold two encoders together."""

import random

# first and last code point of a block each
BLOCKS = {
    "Latin": (0x41, 0x7A),
    "Latin with marks": (0xC0, 0x24F),
    "combining marks": (0x300, 0x36F),
    "Greek": (0x370, 0x3FF),
    "Cyrillic": (0x400, 0x4FF),
    "Armenian": (0x531, 0x58A),
    "Hebrew": (0x591, 0x5F4),
    "Arabic": (0x600, 0x6FF),
    "Syriac": (0x700, 0x74F),
    "Devanagari": (0x900, 0x97F),
    "Bengali": (0x980, 0x9FE),
    "Tamil": (0xB82, 0xBFA),
    "Thai": (0xE01, 0xE5B),
    "Tibetan": (0xF00, 0xFDA),
    "Myanmar": (0x1000, 0x109F),
    "Georgian": (0x10A0, 0x10FF),
    "Hangul parts": (0x1100, 0x11FF),
    "Ethiopic": (0x1200, 0x137F),
    "Cherokee": (0x13A0, 0x13FF),
    "Khmer": (0x1780, 0x17F9),
    "Mongolian": (0x1800, 0x18AA),
    "punctuation and spaces": (0x2000, 0x206F),
    "numbers as letters": (0x2150, 0x218B),
    "mathematics": (0x2200, 0x22FF),
    "kana": (0x3000, 0x30FF),
    "Chinese": (0x4E00, 0x9FFF),
    "Hangul": (0xAC00, 0xD7A3),
    "private": (0xE000, 0xE0FF),
    "wide forms": (0xFF00, 0xFFEF),
    "Gothic": (0x10330, 0x1034A),
    "mathematical letters": (0x1D400, 0x1D7FF),
    "emoji": (0x1F300, 0x1FAFF),
    "rare Chinese": (0x20000, 0x2A6DF),
}
_BETWEEN = (
    " ",
    " ",
    " ",
    "  ",
    "\n",
    "\n\n    ",
    "\r\n",
    "\t",
    "",
    "'s ",
    "'LL ",
    ", ",
    "...\n",
    "\u3000",
)


def random_text(draw: random.Random, num_characters: int) -> str:
    """Return words of several scripts with digits, signs, spaces and runs between them."""
    scripts = draw.sample(sorted(BLOCKS), 4)
    parts: list[str] = []
    size = 0
    while size < num_characters:
        first, last = BLOCKS[draw.choice(scripts)]
        kind = draw.random()
        if kind < 0.75:
            word = "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 12)))
        elif kind < 0.85:
            word = str(draw.randint(0, 10 ** draw.randint(1, 9)))
        elif kind < 0.95:
            word = "".join(draw.choices("!-_=()[]{}<>/\\\"'#&|\0\x7f", k=draw.randint(1, 8)))
        else:
            word = chr(draw.randint(first, last)) * draw.randint(2, 300)
        parts += (word, draw.choice(_BETWEEN))
        size += len(parts[-2]) + len(parts[-1])
    return "".join(parts)
