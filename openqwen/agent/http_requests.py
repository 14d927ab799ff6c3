"""JSON over HTTP with patience: time limits, attempts with growing waits, lines of a stream.

    client = HttpClient("http://127.0.0.1:8000/v1", api_key=None, config=EndpointConfig())
    client.post("/completions", {"model": "qwen", "prompt": "2 + 2 ="})
    for event in client.stream("/chat/completions", {...}): ...

Redirects are refused, so that a key goes to the address that was typed and nowhere else.
"""

import http.client
import json
import random
import time
import urllib.error
import urllib.request
from collections.abc import Generator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

from openqwen.agent.config import EndpointConfig
from openqwen.core.errors import UserError

PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


class EndpointError(UserError):
    """An endpoint that answers with an error, or not at all; `status` is HTTP's, 0 for none."""

    def __init__(self, message: str, status: int = 0, wait_s: float | None = None) -> None:
        """Keep what decides on another attempt: the status and how long the server says to wait."""
        super().__init__(message)
        self.status, self.wait_s = status, wait_s


class HttpClient:
    """Requests to one base address."""

    def __init__(self, base: str, *, api_key: str | None, config: EndpointConfig) -> None:
        """Take the address, such as `http://host:8000/v1`; without a path `/v1` is added.

        Raises:
            UserError: if it is no http(s) address, or a key would travel unencrypted to another
                machine.
        """
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UserError(f"{base} is no address of an endpoint, such as http://host:8000/v1")
        if parts.username or parts.password:
            raise UserError("an endpoint's address holds no password; set OPENQWEN_API_KEY")
        if api_key and parts.scheme == "http" and parts.hostname not in LOCAL:
            raise UserError(f"{base}: the key would be sent unencrypted; use https")
        path = parts.path.rstrip("/")
        for ending in ("/chat/completions", "/completions"):
            path = path.removesuffix(ending)
        self.base = f"{parts.scheme}://{parts.netloc}{path or '/v1'}"
        self._key, self._config = api_key, config
        self._opener = urllib.request.build_opener(_NoRedirect)

    def get(self, path: str) -> Any:
        """Return the JSON at a path; errors as in `post`."""
        return self._with_patience(path, None)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the JSON that answers a request.

        Raises:
            EndpointError: one line, when all attempts are used up or none would help.
        """
        return self._with_patience(path, body)

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the events of a stream; attempts are made until the first one has come."""
        num_failed = 0
        while True:
            begun = False
            try:
                with closing(self._events(path, body)) as events:
                    for event in events:
                        begun = True
                        yield event
                return
            except EndpointError as error:
                if begun or not self._wait(error, num_failed):
                    raise
                num_failed += 1

    def _with_patience(self, path: str, body: Mapping[str, Any] | None) -> Any:
        num_failed = 0
        while True:
            try:
                return self._once(path, body)
            except EndpointError as error:
                if not self._wait(error, num_failed):
                    raise
                num_failed += 1

    def _wait(self, error: EndpointError, num_failed: int) -> bool:
        """Wait before another attempt; return False where none is to be made."""
        if (error.status and error.status not in PASSING) or num_failed >= self._config.num_retries:
            return False
        wait_s = self._config.backoff_s * 2**num_failed * random.uniform(0.75, 1.25)
        time.sleep(min(max(wait_s, error.wait_s or 0.0), self._config.max_backoff_s))
        return True

    def _once(self, path: str, body: Mapping[str, Any] | None) -> Any:
        limit = self._config.max_response_bytes
        try:
            with self._open(path, body) as response:
                data = response.read(limit + 1)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None
        if len(data) > limit:
            raise EndpointError(f"{self.base}: a response of more than {limit:,} bytes", 413)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            shown = data[:80].decode("utf-8", "replace")
            raise EndpointError(f"{self.base}{path}: not JSON: {shown!r}", 200) from None

    def _events(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the JSON of each `data:` line up to `[DONE]`."""
        left = self._config.max_response_bytes
        try:
            with self._open(path, body) as response:
                while line := response.readline(left + 1):
                    left -= len(line)
                    if left < 0:
                        raise EndpointError(f"{self.base}: a stream without end", 413)
                    text = line.decode("utf-8", "replace").strip()
                    if not text.startswith("data:"):
                        continue
                    text = text.removeprefix("data:").strip()
                    if text == "[DONE]":
                        return
                    yield _read_event(text, self.base)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from None

    def _open(self, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, headers)
        try:
            return self._opener.open(request, timeout=self._config.timeout_s)
        except urllib.error.HTTPError as error:
            with error:
                raise EndpointError(
                    f"{self.base}{path} answers {error.code}: {_reason(error)}",
                    error.code,
                    _seconds(error.headers.get("Retry-After")),
                ) from None

    def _lost(self, error: Exception) -> EndpointError:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            return EndpointError(f"{self.base}: no answer in {self._config.timeout_s:g} s")
        said = " ".join(str(reason).split())[:120] or type(reason).__name__
        return EndpointError(f"{self.base} can't be reached: {said}")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _read_event(text: str, base: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise EndpointError(f"{base}: an event that is not JSON: {text[:80]!r}", 200) from None
    if not isinstance(event, dict):
        raise EndpointError(f"{base}: an event that is no object: {text[:80]!r}", 200)
    if event.get("error"):
        raise EndpointError(f"{base}: {_message(event['error'])}", 200)
    return event


def _reason(error: urllib.error.HTTPError) -> str:
    """Return what the server says, on one line."""
    try:
        data = error.read(4000)
    except (OSError, http.client.HTTPException):
        data = b""
    try:
        return _message(json.loads(data))
    except (ValueError, RecursionError):
        text = " ".join(data.decode("utf-8", "replace").split())
        return text[:200] or str(error.reason)


def _message(value: Any) -> str:
    while isinstance(value, dict):
        value = value.get("error") or value.get("message") or value.get("detail") or str(value)
    return " ".join(str(value).split())[:200]


def _seconds(text: str | None) -> float | None:
    try:
        return max(0.0, float(text or ""))
    except ValueError:
        return None
