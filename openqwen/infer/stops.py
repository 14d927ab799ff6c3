"""Stop texts in a stream: what could still become one is held back until it is decided.

watch = StopWatch(("\\nObservation:",))
watch.push("42\\nObs")      # "42"
watch.push("erv")          # ""
watch.push("e.")           # "\\nObserve."
"""

from collections.abc import Sequence


class StopWatch:
    """Passes text through, up to the first stop text; matched on text, never on tokens."""

    def __init__(self, stops: Sequence[str]) -> None:
        """Watch for any of `stops`; none passes everything at once."""
        self.stops = tuple(stops)
        self.matched: str | None = None
        self._held = ""

    def push(self, text: str) -> str:
        """Take more text; return what is certain to come before any stop text.

        Once `matched` is set nothing more passes. Of two that start at one place the longer counts.
        """
        if self.matched is not None:
            return ""
        self._held += text
        found = [(self._held.find(stop), -len(stop), stop) for stop in self.stops]
        found = sorted(hit for hit in found if hit[0] >= 0)
        if found:
            place, _, self.matched = found[0]
            passed, self._held = self._held[:place], ""
            return passed
        keep = max((_overlap(self._held, stop) for stop in self.stops), default=0)
        cut = len(self._held) - keep
        passed, self._held = self._held[:cut], self._held[cut:]
        return passed

    def flush(self) -> str:
        """Return what was held back, as the text has ended without the stop."""
        passed, self._held = self._held, ""
        return passed


def _overlap(text: str, stop: str) -> int:
    """Return the length of the longest proper start of `stop` that ends `text`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
