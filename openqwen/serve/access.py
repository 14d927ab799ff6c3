"""Who may ask: the Host header, the Origin of browsers' requests, keys, and browsers' logins.

    access = Access(config)
    caller = access.check("POST", "/v1/chat/completions", headers, "127.0.0.1")
    caller.client, caller.per_minute

A page of another site can make a browser send requests to this machine. It can't choose their Host
(a name that its owner points to 127.0.0.1 shows there) nor hide their Origin.
"""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from openqwen.serve.config import LOOPBACK, ServeConfig
from openqwen.serve.errors import ApiError

COOKIE = "openqwen_session"
OPEN_PATHS = ("/health", "/login")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        client: a key's name, else the address.
        per_minute: requests that it may make; 0 for no bound.
        at_once: requests that it may have under way; 0 for no bound.
    """

    client: str
    per_minute: int
    at_once: int


class LoginNeededError(Exception):
    """A browser that shows a page and has not logged in."""


class Access:
    """A server's keys and sessions."""

    def __init__(self, config: ServeConfig) -> None:
        """Take the settings; keys are kept as digests."""
        self._config = config
        self._digests = {name: _digest(entry.key) for name, entry in config.keys.items()}
        self._sessions: OrderedDict[bytes, tuple[str, float]] = OrderedDict()

    def check(self, method: str, path: str, headers: Mapping[str, str], address: str) -> Caller:
        """Return who asks.

        Raises:
            ApiError: 400, 401 or 403 with the reason.
            LoginNeededError: if a browser should be shown the login page.
        """
        self._check_host(headers.get("host"))
        origin = headers.get("origin")
        is_same = origin is not None and is_same_origin(origin, headers.get("host", ""))
        if origin is not None and not is_same and method not in SAFE_METHODS:
            self._check_origin(origin)
        if not self._digests or path in OPEN_PATHS:
            return Caller(address, self._config.requests_per_minute, self._config.max_concurrent)
        given = headers.get("authorization", "")
        if given:
            scheme, _, key = given.partition(" ")
            name = self.name_of(key.strip()) if scheme.lower() == "bearer" else None
            if name is None:
                raise _wrong_key("the key is not one of this server's")
            return self._caller(name)
        name = self._session_of(headers.get("cookie", ""))
        if name is not None and self._is_own_page(method, is_same, headers, path):
            return self._caller(name)
        is_page = method == "GET" and "text/html" in headers.get("accept", "")
        if is_page and not path.startswith("/v1/"):
            raise LoginNeededError
        raise _wrong_key("this server needs a key: Authorization: Bearer KEY")

    def name_of(self, key: str) -> str | None:
        """Return the name of a key, or None; takes as long for a wrong one as for a right one."""
        given, found = _digest(key), None
        for name, digest in self._digests.items():
            if hmac.compare_digest(given, digest):
                found = name
        return found

    def log_in(self, key: str, now: float | None = None) -> str | None:
        """Return a new session's token for a right key, else None."""
        name = self.name_of(key)
        if name is None:
            return None
        now = time.monotonic() if now is None else now
        token = secrets.token_urlsafe(32)
        self._sessions[_digest(token)] = (name, now + 3600 * self._config.login_hours)
        if len(self._sessions) > MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return token

    def log_out(self, cookies: str) -> None:
        """Forget the session of a Cookie header."""
        self._sessions.pop(_digest(_token_in(cookies)), None)

    def _session_of(self, cookies: str) -> str | None:
        name, ends = self._sessions.get(_digest(_token_in(cookies)), (None, 0.0))
        return name if name is not None and time.monotonic() < ends else None

    def _is_own_page(
        self, method: str, is_same: bool, headers: Mapping[str, str], path: str
    ) -> bool:
        """Return whether a request with a cookie comes from a page of this server, or shows one."""
        site = headers.get("sec-fetch-site", "")
        if method not in SAFE_METHODS:
            return is_same
        return is_same or site == "same-origin" or not path.startswith("/v1/")

    def _caller(self, name: str) -> Caller:
        entry, config = self._config.keys[name], self._config
        per_minute, at_once = entry.requests_per_minute, entry.max_concurrent
        return Caller(
            name,
            config.requests_per_minute if per_minute is None else per_minute,
            config.max_concurrent if at_once is None else at_once,
        )

    def _check_host(self, host: str | None) -> None:
        if not host:
            raise ApiError(400, "the request has no Host header", code="host_not_allowed")
        config = self._config
        name = host_name(host)
        if name in (known.lower() for known in config.allowed_hosts) or name in LOOPBACK:
            return
        if not config.is_local and (not config.allowed_hosts or is_address(name)):
            return
        if config.is_local and is_address(name) and ipaddress.ip_address(name).is_loopback:
            return
        raise ApiError(
            403,
            f"this server is not known as {name!r}; --allowed-host {name} would let it be",
            code="host_not_allowed",
        )

    def _check_origin(self, origin: str) -> None:
        if not {"*", origin} & set(self._config.cors_origins):
            raise ApiError(
                403,
                f"pages of {origin} may not call this server; --cors-origin {origin} lets them",
                code="origin_not_allowed",
            )


def host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def is_address(name: str) -> bool:
    """Return whether a name is an IP address, which no stranger's DNS can point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_same_origin(origin: str, host: str) -> bool:
    """Return whether an Origin header names the host that is asked."""
    try:
        return bool(host) and urlsplit(origin).netloc.lower() == host.lower()
    except ValueError:
        return False


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _token_in(cookies: str) -> str:
    try:
        found = SimpleCookie(cookies).get(COOKIE)
    except CookieError:
        return ""
    return found.value if found else ""


def _wrong_key(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
