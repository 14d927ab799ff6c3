"""The control tokens and where they sit: right after the ordinary ranks (§2.2, A.1.1).

control_tokens(151_643)  # {"<|endoftext|>": 151643, "<|im_start|>": 151644, ...}
padded_rows(151_851)     # 151936: rows of the embedding
"""

END_OF_TEXT = "<|endoftext|>"
IM_START = "<|im_start|>"
IM_END = "<|im_end|>"
NUM_EXTRA = 205  # code: the published vocabulary reserves <|extra_0|> to <|extra_204|>

CONTROL_TOKENS: tuple[str, ...] = (
    END_OF_TEXT,
    IM_START,
    IM_END,
    *(f"<|extra_{i}|>" for i in range(NUM_EXTRA)),
)


def control_tokens(num_ranks: int) -> dict[str, int]:
    """Return the id of each control token for a vocabulary of `num_ranks` ordinary tokens."""
    return {name: num_ranks + i for i, name in enumerate(CONTROL_TOKENS)}


def padded_rows(vocab_size: int, multiple: int = 128) -> int:
    """Return the embedding rows for a vocabulary: `vocab_size` rounded up to a multiple.

    The published 7B has 151,936 rows for 151,851 tokens; generation masks the rows without a token.
    """
    return -(-vocab_size // multiple) * multiple
