"""Whether a model has learnt ChatML's control tokens, read off its embedding.

    are_new, why = judge_control_rows(model.embed_tokens.weight, tokenizer, body)

A vocabulary has rows that no text ever reaches: the reserved <|extra_i|> tokens and the padding
beyond the last token. They show what an untrained row of this very model looks like, whatever its
initialisation, weight decay and training did to all rows alike. A row that training has moved lies
further from their centre than they do.
"""

from pathlib import Path

import torch
from torch import Tensor

from openqwen.core.manifest import Manifest
from openqwen.tokenizer.control import IM_END, IM_START
from openqwen.tokenizer.tokenizer import Tokenizer

NEW_BELOW = 1.5  # times the reserved rows' root mean square distance from their centre
MIN_RESERVED = 8
CHAT_STAGES = ("chat", "chat-rlhf", "code-chat", "math-chat")


def judge_control_rows(embedding_VD: Tensor, tokenizer: Tokenizer, body: Path) -> tuple[bool, str]:
    """Return whether <|im_start|> or <|im_end|> is new to a model, and why, in a few words.

    Args:
        embedding_VD: its embedding.
        tokenizer: whose ids they are.
        body: the model's directory. Its manifest decides where fewer than 8 rows are reserved: a
            chat stage has trained the tokens, anything else is taken not to have.
    """
    ids = {IM_START: tokenizer.im_start_id, IM_END: tokenizer.im_end_id}
    reserved = reserved_rows(tokenizer, len(embedding_VD))
    if len(reserved) < MIN_RESERVED:
        manifest = Manifest.read(body)
        stage = manifest.stage if manifest else "no stage of ours"
        known = "has" if stage in CHAT_STAGES else "has not"
        return stage not in CHAT_STAGES, f"made by {stage}, which {known} trained control tokens"
    distances = distances_from_reserved(embedding_VD, reserved, list(ids.values()))
    shown = " and ".join(f"{d:.2f}" for d in distances)
    return min(distances) < NEW_BELOW, (
        f"{' and '.join(ids)} lie {shown} times as far from the {len(reserved)} reserved rows' "
        f"centre as those do, and below {NEW_BELOW} is untrained"
    )


def reserved_rows(tokenizer: Tokenizer, num_rows: int) -> list[int]:
    """Return the rows that no text reaches: <|extra_i|> and what is beyond the vocabulary."""
    extras = [i for name, i in tokenizer.control_tokens.items() if name.startswith("<|extra_")]
    return [i for i in extras if i < num_rows] + list(range(tokenizer.vocab_size, num_rows))


def distances_from_reserved(
    embedding_VD: Tensor, reserved: list[int], ids: list[int]
) -> list[float]:
    """Return each row's distance from the reserved rows' centre, in their root mean square one.

    Reserved rows that are all the same make any other row infinitely far, and an equal one 0.
    """
    unused_ND = embedding_VD[reserved].double()
    centre_D = unused_ND.mean(0)
    spread = (unused_ND - centre_D).square().sum(1).mean().sqrt()
    away_N = (embedding_VD[ids].double() - centre_D).norm(dim=1)
    return torch.where(away_N == 0, 0.0, away_N / spread).tolist()
