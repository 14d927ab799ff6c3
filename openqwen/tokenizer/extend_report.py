"""What an extension added, for `extension.json`: by script, examples, and the checks."""

import unicodedata
from collections import Counter
from typing import Any

from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import list_merges

PARTIAL = "part of a character"
_EXAMPLES = 12
_SCRIPT_NAMES = {  # first word of a letter's Unicode name -> script; others stand for themselves
    "CJK": "Han",
    "IDEOGRAPHIC": "Han",
    "KATAKANA-HIRAGANA": "Katakana",
    "HALFWIDTH": "Katakana",
    "FULLWIDTH": "Latin",
}


def script_of(token: bytes) -> str:
    """Return the script of most of a token's letters, "signs" without letters, or `PARTIAL`."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return PARTIAL
    first = (unicodedata.name(c, "UNKNOWN").split()[0] for c in text if c.isalpha())
    scripts = Counter(_SCRIPT_NAMES.get(name, name.capitalize()) for name in first)
    return scripts.most_common(1)[0][0] if scripts else "signs"


def extension_report(
    tokenizer: Tokenizer,
    base: list[bytes],
    added: list[bytes],
    removed: list[bytes],
    seen: dict[bytes, int],
) -> dict[str, Any]:
    """Return what `extension.json` says of the tokens.

    Args:
        tokenizer: the result.
        base: ranks it started from.
        added: those learnt, in order.
        removed: learnt but taken out, since they did not re-encode to themselves.
        seen: times the pair behind each learnt token was seen when it was learnt.
    """
    by_script: dict[str, list[bytes]] = {}
    for token in added:
        by_script.setdefault(script_of(token), []).append(token)
    made = {left + right for left, right in list_merges(tokenizer.ranks)}
    unreachable = [token for token in base if len(token) > 1 and token not in made]
    digits = [token for token in base if _crosses_digits(token)]
    return {
        "base_ranks": len(base),
        "added_ranks": len(added),
        "num_ranks": tokenizer.num_ranks,
        "vocab_size": tokenizer.vocab_size,
        "scripts": {
            script: {
                "tokens": len(tokens),
                "one_character": sum(_is_one_character(token) for token in tokens),
                "examples": [_shown(token) for token in tokens[:_EXAMPLES]],
                "last": [_shown(token) for token in tokens[-3:]],
            }
            for script, tokens in sorted(by_script.items(), key=lambda item: -len(item[1]))
        },
        "checks": {
            "added_and_re_encoded_to_themselves": len(added),
            "of_these_whole_characters": sum(script_of(t) != PARTIAL for t in added),
            "learnt_but_taken_out": len(removed),
            "taken_out_examples": [_shown(token) for token in removed[:_EXAMPLES]],
            "base_not_made_by_merges": len(unreachable),
            "base_never_used_since_digits_stand_alone": len(digits),
        },
        "least_seen": min((seen[token] for token in added), default=0),
    }


def _crosses_digits(token: bytes) -> bool:
    """Return whether a token holds a digit and anything else, which no piece of text does."""
    try:
        text = token.decode()
    except UnicodeDecodeError:
        return False
    return len(text) > 1 and any(unicodedata.category(c)[0] == "N" for c in text)


def _is_one_character(token: bytes) -> bool:
    try:
        return len(token.decode()) == 1
    except UnicodeDecodeError:
        return False


def _shown(token: bytes) -> str:
    return token.decode("utf-8", "backslashreplace")
