"""How much one client may ask for: requests a minute, requests at once; no clock of its own.

    limits = Limits()
    quota = limits.enter("alice", per_minute=60, at_once=4, now=time.monotonic())
    ...
    limits.leave("alice")

Tokens of a bucket: `per_minute` of them at most, refilled evenly, one a request.
"""

import math
from dataclasses import dataclass, field

from openqwen.serve.errors import ApiError

MOST_CLIENTS = 10_000  # remembered; then those who could ask anew with a full bucket are forgotten


@dataclass
class _Account:
    tokens: float
    filled_at: float
    num_open: int = 0
    per_minute: int = field(default=0)

    def refill(self, per_minute: int, now: float) -> None:
        gained = (now - self.filled_at) * per_minute / 60
        self.tokens = min(float(per_minute), self.tokens + gained)
        self.filled_at, self.per_minute = now, per_minute


class Limits:
    """All clients' accounts; used from one thread."""

    def __init__(self, most_clients: int = MOST_CLIENTS) -> None:
        """Begin with nobody known."""
        self._accounts: dict[str, _Account] = {}
        self._most = most_clients

    def enter(self, client: str, *, per_minute: int, at_once: int, now: float) -> dict[str, str]:
        """Count a request that begins; return its x-ratelimit headers.

        Args:
            client: whose account it is.
            per_minute: requests; 0 for no bound.
            at_once: requests that may be under way; 0 for no bound.
            now: seconds on any clock that only goes forward.

        Raises:
            ApiError: 429, with the seconds after which the next one passes.
        """
        account = self._account(client, per_minute, now)
        account.refill(per_minute, now)
        headers = _headers(account, per_minute)
        if at_once and account.num_open >= at_once:
            raise ApiError(
                429,
                f"{client} has {account.num_open} requests under way, and may have {at_once}",
                type="rate_limit_error",
                code="concurrency_limit_exceeded",
                retry_after_s=1.0,
                headers=headers,
            )
        if per_minute and account.tokens < 1:
            raise ApiError(
                429,
                f"{client} may make {per_minute} requests a minute",
                type="rate_limit_error",
                code="rate_limit_exceeded",
                retry_after_s=(1 - account.tokens) * 60 / per_minute,
                headers=headers,
            )
        account.tokens -= 1 if per_minute else 0
        account.num_open += 1
        return _headers(account, per_minute)

    def leave(self, client: str) -> None:
        """Count a request that has ended."""
        account = self._accounts.get(client)
        if account is not None:
            account.num_open = max(0, account.num_open - 1)

    def _account(self, client: str, per_minute: int, now: float) -> _Account:
        if client not in self._accounts and len(self._accounts) >= self._most:
            for name, account in list(self._accounts.items()):
                account.refill(account.per_minute, now)
                if not account.num_open and account.tokens >= account.per_minute:
                    del self._accounts[name]
        return self._accounts.setdefault(client, _Account(float(per_minute), now))


def _headers(account: _Account, per_minute: int) -> dict[str, str]:
    """Return what OpenAI's clients read of a bound on requests."""
    if not per_minute:
        return {}
    missing = max(0.0, per_minute - account.tokens)
    return {
        "x-ratelimit-limit-requests": str(per_minute),
        "x-ratelimit-remaining-requests": str(max(0, math.floor(account.tokens))),
        "x-ratelimit-reset-requests": f"{missing * 60 / per_minute:.1f}s",
    }
