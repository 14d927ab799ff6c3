r"""The answer in a reply to a mathematical question, and the plain form it is compared in (MATH).

    extract_answer(r"… so we get $\boxed{\frac12}$.")       # r"\frac12"
    extract_minerva("… Final Answer: The final answer is $5$. I hope it is correct.")    # "$5$"
    plain_form(r"5 \text{ cm}")                              # Plain(text="5", unit="cm")

Rules after Hendrycks et al. (2021, `math_equivalence`) and Lewkowycz et al. (2022, appendix G):
dollar signs, spacing, sizes of brackets, degree and per-cent signs and units don't count.
"""

import re
from dataclasses import dataclass

MINERVA = re.compile(r"Final Answer: The final answer is(.*?)\. I hope it is correct", re.DOTALL)
_SAID = re.compile(
    r"(?:final answer|answer|答案)\s*(?:is|are|=|:|：|是|为)\s*:?\s*(.+?)"
    r"(?=\.\s|\.?\s*$|。|\n|\. I hope)",
    re.IGNORECASE,
)
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:! ]|quad|qquad|enspace|thinspace|hspace\{[^}]*\})|~")
_SIZES = re.compile(
    r"\\(?:left|right|[bB]ig{1,2}[lrm]?|displaystyle|limits|mleft|mright)(?![a-zA-Z])"
)
_FONTS = re.compile(r"\\(?:mathrm|mathbf|mathit|mathsf|boldsymbol|bm|operatorname)\s*\{([^{}]*)\}")
_TEXT = re.compile(r"\\(?:text|mbox|textbf|textit|textrm|textnormal|hbox)\s*\{([^{}]*)\}")
_THOUSANDS = re.compile(r"(?<![\d.,\w])(\d{1,3}(?:(?:,|\{,\})\d{3})+)(?![\d]|,\d)")
_UNIT = re.compile(
    r"[ck]?m|mm|in|ft|yd|inch(?:es)?|feet|foot|(?:yard|mile|(?:centi|kilo)?met(?:er|re)|(?:kilo)?gram|kg"
    r"|pound|lb|ounce|lit(?:er|re)|gallon|second|sec|minute|min|hour|hr|day|week|month|year|dollar|cent"
    r"|degree|radian|unit|way|student|ball|apple|marble|book|box(?=es)|coin|page|point|game|card|number"
    r"|integer|solution|triangle|rectangle|square|cube)(?:e?s)?|percent|mph|cubic|sq|people|times|per",
    re.IGNORECASE,
)
# names of measures -> one name each; words that are none (ways, apples) never part two answers
MEASURES = {
    name: names[0]
    for names in (
        ("cm", "centimeter", "centimetre"),
        ("mm", "millimeter", "millimetre"),
        ("km", "kilometer", "kilometre"),
        ("m", "meter", "metre"),
        ("foot", "feet", "ft"),
        ("inch", "in"),
        ("yard", "yd"),
        ("mile", "mi"),
        ("kg", "kilogram"),
        ("g", "gram"),
        ("pound", "lb"),
        ("ounce", "oz"),
        ("liter", "litre"),
        ("gallon",),
        ("second", "sec"),
        ("minute", "min"),
        ("hour", "hr"),
        ("day",),
        ("week",),
        ("month",),
        ("year",),
        ("dollar",),
        ("cent",),
        ("degree",),
        ("radian",),
        ("unit",),
        ("am",),
        ("pm",),
    )
    for name in names
}
_TRAILING_WORDS = re.compile(r"(?<=[\d)}!])\s*((?:[a-zA-Z]+\.?[\s/]*)+)(\^\{?[23]\}?)?$")


@dataclass(frozen=True)
class Plain:
    """An answer without dress.

    Attributes:
        text: what is compared.
        unit: the unit or noun that stood behind it; "" for none.
    """

    text: str
    unit: str = ""


def last_boxed(text: str) -> str | None:
    r"""Return what stands in the last `\boxed{…}` or `\fbox{…}`, braces matched; None for none."""
    starts = list(re.finditer(r"\\(?:boxed|fbox)\s*", text))
    for found in reversed(starts):
        begin = found.end()
        if begin < len(text) and text[begin] != "{":  # \boxed 5
            word = re.match(r"\\?[A-Za-z0-9.]+", text[begin:])
            if word:
                return word.group()
            continue
        depth = 0
        for place in range(begin, len(text)):
            depth += {"{": 1, "}": -1}.get(text[place], 0)
            if depth == 0 and place > begin:
                return text[begin + 1 : place]
    return None


def extract_minerva(reply: str) -> str | None:
    """Return what the sentence of Minerva's prompt names as the answer; None without it."""
    found = MINERVA.search(reply)
    return found.group(1).strip() if found else None


def extract_answer(reply: str) -> str | None:
    """Return the answer a reply names: Minerva's sentence, a box, else "the answer is …"."""
    named = extract_minerva(reply) or last_boxed(reply)
    if named is not None:
        return named.strip()
    said = _SAID.findall(reply)
    return said[-1].strip().rstrip(".") if said else None


def plain_form(answer: str) -> Plain:
    """Return an answer without signs that carry no mathematics, and its unit apart."""
    text = answer.strip().replace("\\$", "").replace("$", "")
    text = re.sub(r"\\[()\[\]]", "", text)
    text = _SIZES.sub("", _SPACES.sub(" ", text))
    text = re.sub(r"\\(text|mbox)\s+\{", r"\\\1{", text)
    for _ in range(3):  # fonts nest
        text = _FONTS.sub(r"\\text{\1}" if _is_worded(text) else r"\1", text)
    text = re.sub(r"\\[dtc]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"\^\s*(?:\{\s*\\circ\s*\}|\\circ)|\\degree(?![a-zA-Z])|°", "", text)
    text = text.replace("\\%", "").replace("%", "")
    text = re.sub(r"\{,\}", ",", _THOUSANDS.sub(_join_digits, text))
    text = re.sub(r"\\(?:ne|neq)(?![a-zA-Z])", r"\\ne ", text)
    text = text.replace("−", "-").replace("–", "-").replace("∞", r"\infty ").replace("π", r"\pi ")
    text = text.strip().rstrip(".").strip()
    text, unit = _split_unit(text)
    return Plain(" ".join(text.split()), unit)


def _is_worded(text: str) -> bool:
    """Return whether an upright font holds a word behind a number: then it is a unit."""
    return bool(re.search(r"[\d)}]\s*\\(?:mathrm|operatorname)\s*\{\s*[a-zA-Z ]{2,}", text))


def _join_digits(found: re.Match[str]) -> str:
    """Join 1,000 to 1000, but leave what brackets or a list may mean as two numbers."""
    text, begin, end = found.string, found.start(), found.end()
    before, after = text[:begin].rstrip(), text[end:].lstrip()
    if before.endswith(("(", "[", "{")) and after.startswith((")", "]", "\\}", "}")):
        return found.group()
    return found.group().replace("{,}", "").replace(",", "")


def _split_unit(text: str) -> tuple[str, str]:
    r"""Split `5 \text{ cm}^2` or `5 cm` into number and unit."""
    found = re.search(
        r"(?<=[\d)}!a-z])\s*((?:\\text\{[^{}]*\}\s*)+)(\^\s*\{?\s*[23]\s*\}?)?$", text
    )
    found = found or re.search(r"(?<=[\d)}!])\s*(\\mbox\{[^{}]*\})()$", text)
    if not found:
        found = re.search(
            r"(?<=\S)\s*((?:\\(?:mbox|textbf|textit|textrm|textnormal|hbox)\{[^{}]*\}\s*)+)"
            r"(\^\s*\{?\s*[23]\s*\}?)?$",
            text,
        )
    if found:
        words = _TEXT.sub(r"\1 ", found.group(1))
        if not re.search(r"\b(?:and|or)\b", words):
            return text[: found.start()].strip(), _plain_unit(words, found.group(2))
    found = _TRAILING_WORDS.search(text)
    if found:
        behind = re.findall(r"[a-zA-Z]+", found.group(1))
        if all(len(word) > 1 and _UNIT.fullmatch(word) for word in behind):
            return text[: found.start()].strip(), _plain_unit(found.group(1), found.group(2))
    return text, ""


def _plain_unit(words: str, power: str | None) -> str:
    """Return the measure in some words (`foot^2` of "square feet"); "" for mere nouns."""
    found, degree = [], re.sub(r"\D", "", power or "")
    for word in re.findall(r"[a-z]+", words.lower().replace("a.m.", "am").replace("p.m.", "pm")):
        if word in ("square", "sq", "cubic"):
            degree = "3" if word == "cubic" else "2"
            continue
        single = next((w for w in (word, word[:-1], word[:-2]) if w in MEASURES), None)
        if single:
            found.append(MEASURES[single])
    return " ".join(found) + ("^" + degree if degree and found else "")
