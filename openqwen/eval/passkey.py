"""Passkey retrieval: a number hidden in a long text, asked for at its end.

Perplexity alone doesn't prove that far context is used; this does. Told are how often all digits
come out right, each predicted from the true ones before it, and how likely the right digits are.
The prompt is plain text to be continued, for chat models too: no template stands around it.
"""

import math
import random
from collections.abc import Sequence

import torch
from torch import Tensor

from openqwen.model.decoder import Decoder
from openqwen.model.likelihood import PASS_TOKENS, hidden_chunks, token_losses
from openqwen.model.long_context import LongContext
from openqwen.tokenizer.tokenizer import Tokenizer

NUM_DIGITS = 5
NEEDLE = " The pass key is {key}. Remember it. {key} is the pass key.\n"
QUESTION = "\nWhat is the pass key? The pass key is "
CHANCE_LOSS = math.log(10)  # nats a digit of a model that knows only that it is a digit


def shortest_prompt(tokenizer: Tokenizer) -> int:
    """Return the tokens of a passkey prompt without any filler."""
    key = "0" * NUM_DIGITS
    return sum(len(tokenizer.encode(part)) for part in (NEEDLE.format(key=key), QUESTION, key))


@torch.no_grad()
def passkey_measure(
    model: Decoder,
    tokenizer: Tokenizer,
    filler: Sequence[int],
    *,
    length: int,
    depth: float,
    num_trials: int,
    long_context: LongContext,
    seed: int,
) -> tuple[int, float]:
    """Hide `num_trials` different keys at one depth of texts of one length and ask for them.

    Args:
        model: in evaluation mode.
        tokenizer: of the model; digits are single tokens.
        filler: token ids of ordinary text, at least `length` of them.
        length: tokens of the whole prompt, question and key included.
        depth: place of the key, 0 at the start and 1 at the end of the filler.
        num_trials: prompts.
        long_context: methods in force.
        seed: draws the keys.

    Returns:
        How many keys came out right, and the mean loss of a digit in nats.

    Raises:
        ValueError: if the filler or the length is too short.
    """
    draw = random.Random(f"{seed} {length} {depth}")
    rows = []
    for _ in range(num_trials):
        key = "".join(draw.choices("0123456789", k=NUM_DIGITS))
        needle = tokenizer.encode(NEEDLE.format(key=key))
        tail = tokenizer.encode(QUESTION) + tokenizer.encode(key)
        room = length - len(needle) - len(tail)
        if room < 0 or len(filler) < room:
            raise ValueError(f"{length} tokens can't hold the key and {room} tokens of filler")
        place = round(depth * room)
        rows.append([*filler[:place], *needle, *filler[place:room], *tail])
    ids_BT = torch.tensor(rows, device=model.device)
    rows_a_pass = max(1, PASS_TOKENS // length)
    tails = [_last_states(model, part, long_context) for part in ids_BT[:, :-1].split(rows_a_pass)]
    hidden_BTD = torch.cat(tails)
    targets_BT = ids_BT[:, -NUM_DIGITS:]
    losses_N = token_losses(hidden_BTD.flatten(0, 1), model.lm_head.weight, targets_BT.flatten())
    guesses_BT = (hidden_BTD @ model.lm_head.weight.T).argmax(-1)
    return int((guesses_BT == targets_BT).all(1).sum()), float(losses_N.mean())


def _last_states(model: Decoder, ids_BT: Tensor, long_context: LongContext) -> Tensor:
    """Return the states that predict the digits, (B, NUM_DIGITS, D)."""
    last_BTD: Tensor | None = None
    for _, hidden_BTD in hidden_chunks(model, ids_BT, long_context=long_context):
        parts = [hidden_BTD] if last_BTD is None else [last_BTD, hidden_BTD]
        last_BTD = torch.cat(parts, dim=1)[:, -NUM_DIGITS:]
    assert last_BTD is not None, "a prompt has tokens"
    return last_BTD
