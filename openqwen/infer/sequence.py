"""What the scheduler and the block manager know of one reply; no torch, no text.

    sequence = Sequence(number=3, tokens=list(prompt_ids), num_prompt=len(prompt_ids), alpha=1)

`tokens` grows as tokens are chosen, `num_computed` as their keys and values are stored.
"""

from dataclasses import dataclass, field

MOST_ADAPTERS = 4096  # of a model


@dataclass(eq=False)
class Prefix:
    """A full block's tokens behind all the tokens before it, and the blocks that hold them.

    Attributes:
        key: the number of the prefix before it, and its own tokens. The first one of a sequence
            stands behind its `root`, so that those of another α or adapter never meet it.
        number: never used twice.
        blocks: the block in each group's pool, or `SCRATCH` where none holds it any more.
    """

    key: tuple[int, tuple[int, ...]]
    number: int
    blocks: list[int]


@dataclass(eq=False)
class Sequence:
    """One reply's tokens and memory.

    Attributes:
        number: the request's.
        tokens: prompt and reply so far.
        num_prompt: how many of them are the prompt's.
        alpha: dynamic NTK's α, fixed by the prompt's length for good.
        adapter: the number of the adapter that answers, 0 for none.
        num_computed: tokens whose keys and values are stored.
        num_shared: of these, tokens that were found computed when it last began.
        num_begun: how often it has begun: once, and again after each preemption.
        tables: for each group its blocks, by place; `SCRATCH` where the window has left one.
        prefixes: the prefix of each full block that is computed.
    """

    number: int
    tokens: list[int]
    num_prompt: int
    alpha: int = 1
    adapter: int = 0
    num_computed: int = 0
    num_shared: int = 0
    num_begun: int = 0
    tables: list[list[int]] = field(default_factory=list)
    prefixes: list[Prefix] = field(default_factory=list)

    @property
    def root(self) -> int:
        """Return what its first prefix stands behind: a number of α and adapter alone."""
        return -(self.alpha * MOST_ADAPTERS + self.adapter)

    @property
    def num_remaining(self) -> int:
        """Return how many tokens wait to be computed."""
        return len(self.tokens) - self.num_computed
