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
ICON = (
    '<link rel="icon" href="data:image/svg+xml,%3Csvg xmlns=%22http://www.w3.org/2000/svg%22 '
    "viewBox=%220 0 16 16%22%3E%3Ccircle cx=%227%22 cy=%227%22 r=%225%22 fill=%22none%22 "
    'stroke=%22%236366f1%22 stroke-width=%223%22/%3E%3C/svg%3E">'
)
MANIFEST = b'<link rel="manifest" href="/manifest.json" />'
_HEARTBEAT = "/gradio_api/heartbeat/"
_LASTING = ("/assets/", "/static/")


class Door:
    """Middleware around gradio's application alone."""

    def __init__(self, app: ASGIApp, sessions: Sessions, path: str, *, head: str = "") -> None:
        """Stand before gradio's application, mounted at `path`; `head` goes into its page's."""
        self._app, self._sessions, self._path = app, sessions, path
        self._head = (ICON + head + "</head>").encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the end of a tab's heartbeat is the end of the tab."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(self._path)
        if not (_POST if scope["method"] == "POST" else _GET).fullmatch(path):
            await PlainTextResponse("not found", 404)(scope, receive, send)
            return

        is_page = path in ("", "/") and scope["method"] == "GET"
        begin: Message = {}
        body = bytearray()

        async def pass_page(message: Message) -> None:
            """Hold the page back until it is whole, then send it with our head."""
            nonlocal begin
            if message["type"] == "http.response.start":
                begin = message
                return
            if message["type"] != "http.response.body":
                return
            body.extend(message.get("body", b""))
            if message.get("more_body"):
                return
            page = bytes(body).replace(MANIFEST, b"").replace(b"</head>", self._head, 1)
            MutableHeaders(scope=begin)["content-length"] = str(len(page))
            await pass_on(begin)
            await send({"type": "http.response.body", "body": page})

        async def pass_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["content-security-policy"] = POLICY
                if path.startswith(_LASTING):
                    headers["cache-control"] = "public, max-age=86400"
            await send(message)

        if is_page:  # uncompressed, so that it can be changed
            headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
            scope = {**scope, "headers": headers}
        try:
            await self._app(scope, receive, pass_page if is_page else pass_on)
        finally:
            if path.startswith(_HEARTBEAT):
                tab = path.removeprefix(_HEARTBEAT)
                self._sessions.close(scope["state"]["client"], tab)
