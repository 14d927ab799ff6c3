"""What of gradio's server can be reached: what the page needs, and nothing else.

app.mount("/chat", Door(gradio_app, sessions))

gradio's server has more routes than this page uses: uploads, files, a proxy. They answer 404. Every
response carries a content policy: a browser asks nobody but this server for anything, whatever
stands on the page.
"""

import re

from starlette.datastructures import MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from openqwen.serve.chat.sessions import Sessions

POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' data: blob:",
        "media-src 'none'",
        "object-src 'none'",
        "frame-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'self'",
    )
)
_GET = re.compile(
    r"/?|/config/?|/theme\.css|/manifest\.json|/assets/.*|/static/.*|/svelte/.*"
    r"|/gradio_api/(?:info/?|app_id/?|startup-events|theme\.css|queue/data|heartbeat/[\w-]+)"
)
_POST = re.compile(r"/gradio_api/(?:queue/join/?|run/predict/?|api/predict/?|cancel|reset/?)")
_HEARTBEAT = "/gradio_api/heartbeat/"
_LASTING = ("/assets/", "/static/")


class Door:
    """Middleware around gradio's application alone."""

    def __init__(self, app: ASGIApp, sessions: Sessions, path: str) -> None:
        """Stand before gradio's application, which is mounted at `path`."""
        self._app, self._sessions, self._path = app, sessions, path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the end of a tab's heartbeat is the end of the tab."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._path)
        if not (_POST if scope["method"] == "POST" else _GET).fullmatch(path):
            await PlainTextResponse("not found", 404)(scope, receive, send)
            return

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = POLICY
                if path.startswith(_LASTING):
                    headers["cache-control"] = "public, max-age=86400"
            await send(message)

        try:
            await self._app(scope, receive, pass_on)
        finally:
            if path.startswith(_HEARTBEAT):
                tab = path.removeprefix(_HEARTBEAT)
                self._sessions.close(scope["state"]["client"], tab)
