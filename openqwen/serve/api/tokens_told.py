"""Log-probabilities as the API tells them, token by token.

told = chat_logprobs(served, ids, logprobs, top_logprobs)
"""

from collections.abc import Sequence
from typing import Any

from openqwen.serve.jobs import Piece
from openqwen.serve.models import ServedModel

Tops = Sequence[tuple[tuple[int, float], ...]]


def without_end(served: ServedModel, ids: Sequence[int], *, ignore_eos: bool) -> int:
    """Return how many ids are the reply's own: an end token is not."""
    is_ended = bool(ids) and not ignore_eos and ids[-1] in served.lm.stop_ids
    return len(ids) - is_ended


def chat_logprobs(served: ServedModel, piece: Piece, *, ignore_eos: bool) -> dict[str, Any] | None:
    """Return the chat form for a piece's tokens, or None where none was asked for."""
    if piece.logprobs is None:
        return None
    count = without_end(served, piece.ids, ignore_eos=ignore_eos)
    tops: Tops = piece.top_logprobs or [()] * len(piece.ids)
    content = []
    for token, logprob, top in list(zip(piece.ids, piece.logprobs, tops, strict=True))[:count]:
        told = _token(served, token, logprob)
        told["top_logprobs"] = [_token(served, i, x) for i, x in top]
        content.append(told)
    return {"content": content, "refusal": None}


def text_logprobs(
    served: ServedModel, piece: Piece, offset: int, *, ignore_eos: bool
) -> dict[str, Any] | None:
    """Return the older form; `offset` is where the piece's text begins."""
    if piece.logprobs is None:
        return None
    count = without_end(served, piece.ids, ignore_eos=ignore_eos)
    texts, places = [], []
    for token in piece.ids[:count]:
        texts.append(token_text(served, token))
        places.append(offset)
        offset += len(texts[-1])
    tops = None
    if piece.top_logprobs is not None:
        tops = [{token_text(served, i): x for i, x in top} for top in piece.top_logprobs[:count]]
    return {
        "tokens": texts,
        "token_logprobs": piece.logprobs[:count],
        "top_logprobs": tops,
        "text_offset": places,
    }


def token_text(served: ServedModel, token: int) -> str:
    """Return a token alone as text; a part of a character shows as the replacement sign."""
    return _bytes(served, token).decode(errors="replace")


def _bytes(served: ServedModel, token: int) -> bytes:
    tokenizer = served.lm.tokenizer
    if tokenizer is None or not tokenizer.has_id(token):
        return f"<{token}>".encode()
    return tokenizer.decode_bytes([token])


def _token(served: ServedModel, token: int, logprob: float) -> dict[str, Any]:
    data = _bytes(served, token)
    return {
        "token": data.decode(errors="replace"),
        "logprob": max(logprob, -9999.0),  # JSON has no infinity
        "bytes": list(data),
    }
