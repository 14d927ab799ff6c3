"""`/login`: a form that trades a key for a browser session, so that pages can be opened.

    add_login(app)

The cookie holds a random token, not the key; scripts can't read it and other sites can't use it.
"""

from html import escape
from urllib.parse import parse_qs, urlencode

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from openqwen.serve.access import COOKIE
from openqwen.serve.errors import ApiError
from openqwen.serve.limits import Limits

TRIES_PER_MINUTE = 10
POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>openqwen: log in</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center;
  min-height: 90vh; margin: 0 1rem; }}
form {{ display: grid; gap: .75rem; width: min(22rem, 100%); }}
input, button {{ font: inherit; padding: .6rem .75rem; border-radius: .5rem; }}
input {{ border: 1px solid #8888; }}
button {{ border: 0; background: #4f46e5; color: #fff; cursor: pointer; }}
button:focus-visible, input:focus-visible {{ outline: 3px solid #a5b4fc; outline-offset: 1px; }}
h1 {{ font-size: 1.25rem; margin: 0; }}
p {{ margin: 0; }} [role=alert] {{ color: #c2410c; }}
</style></head><body>
<form method="post" action="login?{query}">
<h1>openqwen</h1>
<label for="key">Key / 密钥</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
{problem}
<button>Log in / 登录</button>
</form></body></html>
"""


def add_login(app: FastAPI) -> None:
    """Add the form, what it posts to, and `/logout`."""
    tries = Limits()

    @app.get("/login", include_in_schema=False)
    async def form(request: Request) -> Response:
        return _page(_target(request))

    @app.post("/login", include_in_schema=False)
    async def log_in(request: Request) -> Response:
        response: Response
        address = request.client.host if request.client else "unknown"
        target = _target(request)
        try:
            now = request.app.state.clock()
            tries.enter(address, per_minute=TRIES_PER_MINUTE, at_once=0, now=now)
        except ApiError as error:
            response = _page(target, "Too many tries; wait a minute. / 尝试过多，请稍候。", 429)
            response.headers.update(error.headers)
            return response
        tries.leave(address)
        fields = parse_qs((await request.body()).decode("utf-8", "replace"))
        token = request.app.state.access.log_in(fields.get("key", [""])[0].strip())
        if token is None:
            return _page(target, "This is not one of the server's keys. / 密钥不正确。", 401)
        response = RedirectResponse(target, 303)
        response.set_cookie(
            COOKIE,
            token,
            max_age=round(3600 * request.app.state.config.login_hours),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    @app.post("/logout", include_in_schema=False)
    async def log_out(request: Request) -> Response:
        request.app.state.access.log_out(request.headers.get("cookie", ""))
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE)
        return response


def _target(request: Request) -> str:
    """Return the page to go to afterwards: a path of this server, nothing else."""
    target = request.query_params.get("next", "/chat/")
    is_path = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_path and target.isprintable() else "/chat/"


def _page(target: str, problem: str = "", status: int = 200) -> HTMLResponse:
    shown = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    text = PAGE.format(query=escape(urlencode({"next": target})), problem=shown)
    headers = {"content-security-policy": POLICY, "cache-control": "no-store"}
    return HTMLResponse(text, status, headers=headers)
