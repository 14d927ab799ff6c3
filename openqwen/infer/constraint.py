"""What a reply may say next, token by token: the interface between grammars and the sampler.

class Digits:                                    # a constraint of one's own
    error = None
    is_finished = False
    def mask(self, logits_V): logits_V[~self.digits_V] = -torch.inf
    def accept(self, token): ...

lm.request("2 + 2 = ", constraint=Digits())
"""

from typing import Protocol

from torch import Tensor


class Constraint(Protocol):
    """One reply's rule; it has a state, so every reply needs its own. Its methods do not raise."""

    @property
    def is_finished(self) -> bool:
        """Return whether nothing but the end may follow; the reply then ends with "stop"."""

    @property
    def error(self) -> str | None:
        """Return why it cannot go on, in one line, or None; the reply then ends with "error"."""

    def mask(self, logits_V: Tensor) -> None:
        """Set what may not come next to minus infinity, in place.

        Args:
            logits_V: float32, of all rows of the vocabulary or of the first ones; those beyond
                them may never be chosen anyway.
        """

    def accept(self, token: int) -> None:
        """Take the token that was chosen."""
