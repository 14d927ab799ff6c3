"""`/pages/`: the static pages of other stages, served so that they save by themselves.

    add_pages(app)          # reads app.state.config.pages, the folders to serve

`GET /pages/FOLDER/PAGE.html` is the page; `GET` and `PUT` of `PAGE.html.saved` what a person
marked, in the page's own form. A version goes with it (ETag): who saves over one that he has not
seen is told so (412), and the page, which keeps what it changed, loads, merges and saves again.
"""

import hashlib
import json
import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from openqwen.core.pages import page_environment
from openqwen.serve.errors import ApiError
from openqwen.serve.pages.folders import Folders, Page
from openqwen.serve.pages.kinds import Content, Kind, Person, kinds, person_of

SUFFIX = ".saved"
MAX_BYTES = 4_000_000
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
        "connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
}


class Saved:
    """What people saved on the pages of some folders; a change waits for the one before."""

    def __init__(self, folders: Folders) -> None:
        """Take the folders."""
        self._folders = folders
        self._kinds = kinds()
        self._lock = threading.Lock()

    def load(self, folder: str, name: str, person: Person) -> tuple[Content | None, str | None]:
        """Return what a person saved on a page and its version."""
        page, kind = self._find(folder, name)
        with self._lock:
            content = kind.read(page, person)
        return content, version_of(content)

    def save(self, folder: str, name: str, content: Content, expected: str | None) -> str | None:
        """Keep what a page sends; return its version.

        Raises:
            ApiError: 412 if another version is kept than `expected`, 422 if it is not right.
        """
        page, kind = self._find(folder, name)
        person = person_of(content)
        if content.get("kind") != page.kind:
            raise ApiError(422, f"{name} saves {page.kind!r}, not {content.get('kind')!r}")
        with self._lock:
            if version_of(kind.read(page, person)) != expected:
                raise ApiError(412, f"{person.name} has saved from elsewhere; load it first")
            kind.write(page, person, content)
            return version_of(kind.read(page, person))

    def _find(self, folder: str, name: str) -> tuple[Page, Kind]:
        page = self._folders.page(folder, name)
        kind = self._kinds.get(page.kind)
        if kind is None or not page.saves:
            raise ApiError(404, f"nothing is saved on {name}", code="no_page")
        return page, kind


def version_of(content: Content | None) -> str | None:
    """Return the version of something saved as an ETag; None for nothing."""
    if content is None:
        return None
    text = json.dumps(content, ensure_ascii=True, sort_keys=True)
    return f'"{hashlib.sha256(text.encode()).hexdigest()[:32]}"'


def add_pages(app: FastAPI) -> None:
    """Add the pages of the folders that the settings name; without any, nothing.

    Raises:
        UserError: if a folder has no page.
    """
    names = app.state.config.pages
    if not names:
        return
    folders = Folders([Path(name) for name in names])
    saved = Saved(folders)

    @app.get("/pages", include_in_schema=False)
    def to_index() -> Response:
        return RedirectResponse("/pages/")

    @app.get("/pages/", include_in_schema=False)
    def index() -> Response:
        template = page_environment(Path(__file__).parent).get_template("index.html")
        return HTMLResponse(template.render(folders=folders.all()), headers=HEADERS)

    @app.get("/pages/{folder}/{name:path}", include_in_schema=False)
    def show(request: Request, folder: str, name: str) -> Response:
        if name.endswith(SUFFIX):
            asked = request.query_params
            person = Person(asked.get("name", "").strip(), asked.get("as", "person"))
            content, version = saved.load(folder, name.removesuffix(SUFFIX), person)
            return JSONResponse(content, headers=_plain(version))
        page = folders.page(folder, name)
        text = page.text()
        if page.saves:
            where = f'<body data-saves="{page.path.name}{SUFFIX}" data-kind='
            text = text.replace("<body data-kind=", where, 1)
        return HTMLResponse(text, headers=HEADERS)

    @app.put("/pages/{folder}/{name:path}", include_in_schema=False)
    async def keep(request: Request, folder: str, name: str) -> Response:
        if not name.endswith(SUFFIX):
            raise ApiError(405, "a page itself can't be written")
        content = read_content(request.headers.get("content-type", ""), await request.body())
        expected = request.headers.get("if-match")
        if not expected and request.headers.get("if-none-match") != "*":
            raise ApiError(428, "say which version you change: If-Match, or If-None-Match: *")
        version = await run_in_threadpool(
            saved.save, folder, name.removesuffix(SUFFIX), content, expected
        )
        return JSONResponse({"saved": True}, headers=_plain(version))


def read_content(content_type: str, body: bytes) -> Content:
    """Return the JSON object that a page sent.

    Raises:
        ApiError: if it is none, or too large.
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise ApiError(415, "send application/json")
    if len(body) > MAX_BYTES:
        raise ApiError(413, f"{len(body):,} bytes are more than {MAX_BYTES:,}")
    try:
        content: Any = json.loads(body, parse_constant=_refuse)
        json.dumps(content, ensure_ascii=False).encode()  # a lone surrogate could not be written
    except (ValueError, RecursionError):
        raise ApiError(400, "the body is no JSON that can be kept") from None
    if not isinstance(content, dict):
        raise ApiError(422, "the body must be a JSON object")
    return content


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _plain(version: str | None) -> dict[str, str]:
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return headers | ({"ETag": version} if version else {})
