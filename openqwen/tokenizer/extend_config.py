"""Settings of `openqwen tokenizer extend` (§2.2); light, so that the command line can import it."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from openqwen.core.config import Config, parse_config, setting
from openqwen.core.errors import UserError


class TokenizerExtendConfig(Config):
    """How to add tokens to a vocabulary that exists."""

    num_ranks: int = setting(
        151_643,
        "ordinary tokens in the end; with 208 control tokens this is the report's 152 K",
        source="§2.2",
        ge=257,
        le=2**20,
    )
    drop_numbers: bool = setting(
        True,
        "leave out the base's tokens of several digits, unused where digits stand alone",
        source="code: the published ranks are cl100k's without these 1,100",
    )
    balance: float = setting(
        0.5,
        "exponent on each language's share of the text: 1 keeps natural shares, 0 makes all equal",
        ge=0,
        le=1,
    )
    weights: dict[str, Annotated[float, Field(ge=0)]] = setting(
        {}, "language, code or instructions -> factor on its weight after balancing; others 1"
    )
    min_count: int = setting(
        10, "times a token must be seen where it is learnt, before any weight", ge=1
    )
    max_token_characters: int = setting(
        128, "longest token added, in characters", source="code: the published vocabulary", ge=1
    )
    max_ungapped_characters: int = setting(
        8, "most characters in it of scripts without gaps between words (Han, Kana, Thai …)", ge=1
    )
    max_han_characters: int = setting(
        4, "most Chinese characters in it", source="code: the published vocabulary", ge=1
    )
    table_bytes: int = setting(
        600_000_000,
        "memory for distinct pieces of text; of more, longer pieces are sampled evenly",
        ge=1_000_000,
    )
    num_threads: int = setting(0, "threads that count; 0 is one a processor", ge=0)


def parse_extend_settings(assignments: Sequence[str]) -> TokenizerExtendConfig:
    """Return the settings with what `--set extend.KEY=VALUE` says.

    Raises:
        UserError: naming the first assignment that says nothing, or a bad value.
    """
    data: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, value = assignment.partition("=")
        parts = key.split(".")
        if not sign or parts[0] != "extend" or len(parts) < 2:
            raise UserError(f"--set {assignment}: write extend.KEY=VALUE, as extend.num_ranks=8000")
        try:
            parsed = json.loads(value)
        except ValueError:
            parsed = value
        place = data
        for part in parts[1:-1]:
            place = place.setdefault(part, {})
        place[parts[-1]] = parsed
    return parse_config(TokenizerExtendConfig, data, where="--set extend")
