"""What every request passes: its right to ask, its bounds, its end, its line in the log.

    app.add_middleware(Guard, app_state=app.state, log=log)

The body is read whole before a handler runs, and a request's replies end with it: when its client
leaves, stands still for too long, or its handler fails. Errors have OpenAI's form everywhere.
"""

import asyncio
import contextlib
import re
import secrets
import time
from typing import Any
from urllib.parse import quote

from starlette.datastructures import Headers, MutableHeaders, State
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openqwen.serve.access import Caller, LoginNeededError
from openqwen.serve.body import ClientGoneError, read_body
from openqwen.serve.errors import ApiError, error_body, internal_error
from openqwen.serve.logs import JsonLog, describe_streams
from openqwen.serve.service import OWNER, Owned

REQUEST_ID = re.compile(r"[\w.-]{1,64}")
WATCHED = ("/health", "/metrics")  # answered while the server drains
COUNTED = ("/v1/", "/tokenize", "/detokenize")  # what limits and a drain count
CHAT_CALLS = ("/chat/gradio_api/queue/join", "/chat/gradio_api/call/", "/chat/gradio_api/run/")
SECURITY = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with none, the login form's own origin would be "null"
    "x-frame-options": "SAMEORIGIN",
}


class Guard:
    """Middleware around the whole application.

    Attributes:
        num_open: API requests under way.
    """

    def __init__(self, app: ASGIApp, *, app_state: State, log: JsonLog) -> None:
        """Stand before `app`; its state has config, access, limits, metrics and service."""
        self._app, self._state, self._log = app, app_state, log
        self.num_open = 0
        app_state.guard = self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await _Exchange(self, self._state, self._log, scope, receive, send).run(self._app)
        else:
            await send({"type": "websocket.close", "code": 1008})


class _Exchange:
    """One request and its response."""

    def __init__(
        self,
        guard: Guard,
        state: State,
        log: JsonLog,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._guard, self._state, self._log = guard, state, log
        self._scope, self._receive, self._send = scope, receive, send
        self._headers = Headers(scope=scope)
        self._begin = time.monotonic()
        given = self._headers.get("x-request-id", "")
        self._id = given if REQUEST_ID.fullmatch(given) else f"req-{secrets.token_hex(12)}"
        self._path: str = scope["path"]
        self._status, self._note, self._is_whole = 0, "", False
        self._extra: dict[str, str] = {}
        self._caller: Caller | None = None
        self._body = b""
        self._owned = Owned()
        self._gone = asyncio.Event()

    async def run(self, app: ASGIApp) -> None:
        is_api = self._path.startswith(COUNTED)
        self._guard.num_open += is_api
        entered = None
        try:
            self._check()
            entered = self._enter()
            self._body = await read_body(
                self._receive,
                self._headers,
                most_bytes=self._state.config.max_body_bytes,
                timeout_s=self._state.config.body_timeout_s,
            )
            await self._answer(app)
        except LoginNeededError:
            to = quote(self._path)
            await self._respond(RedirectResponse(f"/login?next={to}", 303))
        except ApiError as error:
            await self._refuse(error)
        except ClientGoneError:
            self._note = self._note or "client left"
        except Exception as error:
            self._log.failure(f"{self._id}: {self._scope['method']} {self._path}", error)
            if self._status:
                self._state.abort(self._scope)  # half an answer must not look like a whole one
            else:
                await self._refuse(internal_error())
        finally:
            self._owned.close()
            if entered is not None:
                self._state.limits.leave(entered)
            self._guard.num_open -= is_api
            self._tell()

    def _check(self) -> None:
        """Refuse while draining, and who may not ask."""
        if self._state.service.is_draining and self._path not in WATCHED:
            raise ApiError(
                503,
                "the server is about to stop; ask another one, or later",
                type="server_error",
                code="draining",
                retry_after_s=self._state.config.drain_timeout_s,
                headers={"connection": "close"},
            )
        address = (self._scope.get("client") or ("unknown",))[0]
        method = self._scope["method"]
        self._caller = self._state.access.check(method, self._path, self._headers, address)
        self._scope.setdefault("state", {})["client"] = self._caller.client
        self._scope["state"]["request_id"] = self._id

    def _enter(self) -> str | None:
        """Count a request against its client's limits; return whose it is."""
        assert self._caller is not None
        is_chat = self._path.startswith(CHAT_CALLS)
        if self._scope["method"] != "POST" or not (is_chat or self._path.startswith(COUNTED)):
            return None
        self._extra |= self._state.limits.enter(
            self._caller.client,
            per_minute=self._caller.per_minute,
            at_once=0 if is_chat else self._caller.at_once,
            now=time.monotonic(),
        )
        return self._caller.client

    async def _answer(self, app: ASGIApp) -> None:
        """Run the application, with the body at hand and an ear on the connection."""
        token = OWNER.set(self._owned)
        watcher = asyncio.create_task(self._watch())
        is_read = False

        async def receive() -> Message:
            nonlocal is_read
            if not is_read:
                is_read = True
                return {"type": "http.request", "body": self._body, "more_body": False}
            await self._gone.wait()
            return {"type": "http.disconnect"}

        try:
            await app(self._scope, receive, self._pass_on)
        finally:
            OWNER.reset(token)
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self) -> None:
        """End the request's replies as soon as its client leaves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self._is_whole:
            self._note = self._note or "client left"
        self._owned.close()
        self._gone.set()

    async def _pass_on(self, message: Message) -> None:
        """Send a part of the response; a client that does not take it in time is cut off."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in (SECURITY | self._extra).items():
                headers.setdefault(name, value)
            headers["x-request-id"] = self._id
        try:
            async with asyncio.timeout(self._state.config.client_timeout_s):
                await self._send(message)
            if message["type"] == "http.response.body":
                self._is_whole = not message.get("more_body", False)
        except TimeoutError:
            self._note = "client stood still"
            self._owned.close()
            self._gone.set()
            self._state.abort(self._scope)
            raise ClientGoneError from None

    async def _refuse(self, error: ApiError) -> None:
        self._note = error.code or ""
        if self._status == 0:
            response = JSONResponse(error_body(error), error.status, headers=error.headers)
            await self._respond(response)

    async def _respond(self, response: Response) -> None:
        with contextlib.suppress(ClientGoneError):
            await response(self._scope, self._receive, self._pass_on)

    def _tell(self) -> None:
        """Write the request's line and count it."""
        if self._path in WATCHED and self._status < 300:
            return
        seconds = time.monotonic() - self._begin
        fields: dict[str, Any] = {
            "id": self._id,
            "method": self._scope["method"],
            "path": self._path,
            "status": self._status or None,
            "client": self._caller.client if self._caller else None,
            **describe_streams(self._owned.streams),
            "total_s": seconds,
            "note": self._note or None,
        }
        if self._state.config.log_contents and self._path.startswith(COUNTED):
            fields["request"] = self._body.decode("utf-8", "replace")
            fields["replies"] = ["".join(s.job.request.pieces) for s in self._owned.streams] or None
        self._log.event("request", **fields)
        self._state.metrics.count_request(self._path, self._status)
