"""How fast waiting work gets done, measured, so that a refused client knows when to come back.

rate = Throughput()
rate.count_seconds(0.02); rate.count_tokens(640)
rate.seconds_of(12_000)
"""

import threading

FIRST_GUESS = 100.0  # tokens a second, until something has been measured
MEMORY_S = 60.0  # seconds of work that are remembered
LONGEST_S = 600.0


class Throughput:
    """Tokens a second of work, the last minute's."""

    def __init__(self) -> None:
        """Begin with a guess that the first seconds of work replace."""
        self._tokens, self._seconds = FIRST_GUESS, 1.0
        self._lock = threading.Lock()

    @property
    def tokens_per_second(self) -> float:
        """Return the rate: reserved tokens of what has ended, by seconds of steps."""
        return self._tokens / self._seconds

    def count_seconds(self, seconds: float) -> None:
        """Count time spent in steps."""
        with self._lock:
            self._seconds += seconds
            if self._seconds > MEMORY_S:
                self._tokens *= MEMORY_S / self._seconds
                self._seconds = MEMORY_S

    def count_tokens(self, tokens: int) -> None:
        """Count a request's tokens when it ends, as many as were reserved for it."""
        with self._lock:
            self._tokens += tokens

    def seconds_of(self, tokens: int) -> float:
        """Return how long so many tokens take, between 1 second and 10 minutes."""
        return min(LONGEST_S, max(1.0, tokens / max(self.tokens_per_second, 1e-9)))
