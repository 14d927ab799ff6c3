"""What a long measurement costs, before it begins: floating-point operations, then time.

flops = pass_flops(config, tokens=16_384, windows=None)
watch = Watch("longcontext   3 rows …", total=flops_of_all, done=flops_of_what_is_kept)
watch.advance(flops, note="+ dynamic NTK at 4,096")
"""

from collections.abc import Sequence

from openqwen.core.log import Progress, format_duration, say
from openqwen.model.config import ModelConfig, count_non_embedding_parameters

MIN_TOLD_S = 10.0  # a shorter wait needs no announcement


def pass_flops(
    config: ModelConfig, *, tokens: int, windows: Sequence[int] | None, scored: int
) -> float:
    """Return the floating-point operations of one text's forward pass.

    Args:
        config: the model's shape.
        tokens: of the text.
        windows: what each layer's queries see at most, or None for all.
        scored: positions whose logits are computed.
    """
    dense = 2.0 * count_non_embedding_parameters(config) * tokens
    head = 2.0 * config.vocab_size * config.hidden_size * scored
    q_size = config.num_attention_heads * config.head_dim
    seen = sum(_seen(tokens, window) for window in windows or [tokens] * config.num_hidden_layers)
    return dense + head + 4.0 * q_size * seen


def _seen(tokens: int, window: int) -> float:
    """Return how many keys the queries of one layer see in all."""
    size = min(window, tokens)
    return size * size / 2 + (tokens - size) * size


class Watch:
    """A progress line in operations, and one line that tells the whole time by the first piece."""

    def __init__(self, label: str, *, total: float, done: float) -> None:
        """Start the clock; `done` of `total` operations are kept from an earlier attempt."""
        self._label, self._is_told = label, False
        self._progress = Progress(
            label, total=round(total / 1e9), unit="GFLOP", done=round(done / 1e9)
        )
        self._total, self._done, self._before = total, done, done

    def advance(self, flops: float, note: str) -> None:
        """Count a finished piece."""
        self._done += flops
        self._progress.advance(round(self._done / 1e9) - self._progress.done, note=note)
        if flops and not self._is_told:
            self._is_told = True
            left_s = (self._total - self._done) * self.seconds_a_flop()
            if left_s >= MIN_TOLD_S:
                say(f"{self._label:<24} about {format_duration(left_s)} to go, by the first piece")

    def seconds_a_flop(self) -> float:
        """Return the pace so far."""
        return self._progress.seconds / (self._done - self._before)

    def close(self) -> None:
        """Show the final line."""
        self._progress.close()
