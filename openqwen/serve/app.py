"""The server as one ASGI application: API, chat page, saved pages, behind one guard.

    app = build_app(models, ServeConfig())
    app.state.service, app.state.models, app.state.config

In every handler `request.state.client` names the caller (its key's label, or its address), and
`request.state.request_id` the request.
"""

import contextlib
import time
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

import openqwen
from openqwen.serve.access import Access
from openqwen.serve.api.routes import add_api
from openqwen.serve.config import ServeConfig
from openqwen.serve.errors import ApiError, error_body
from openqwen.serve.guard import Guard
from openqwen.serve.limits import Limits
from openqwen.serve.login import add_login
from openqwen.serve.logs import JsonLog
from openqwen.serve.metrics import Metrics
from openqwen.serve.models import Models
from openqwen.serve.pages.routes import add_pages
from openqwen.serve.service import Service


def build_app(models: Models, config: ServeConfig, *, log: JsonLog | None = None) -> FastAPI:
    """Return the application; it ends the models' workers when it shuts down.

    Args:
        models: what it serves; without any it serves pages alone.
        config: its settings.
        log: where requests are written; standard error by default.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.service.close()

    app = FastAPI(
        title="openqwen",
        version=openqwen.__version__,
        lifespan=lifespan,
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
    )
    metrics = Metrics(models)
    app.state.models, app.state.config, app.state.metrics = models, config, metrics
    app.state.service = Service(models, config, on_end=metrics.count_end)
    app.state.access, app.state.limits = Access(config), Limits()
    app.state.clock = time.monotonic
    app.state.abort = lambda scope: None  # the process that serves knows how to cut a connection
    app.add_exception_handler(ApiError, _tell)
    _add_own_routes(app)
    add_login(app)
    add_api(app)
    add_pages(app)
    if config.chat and models.list():
        from openqwen.serve.chat.page import mount_chat  # its library takes seconds to import

        mount_chat(app)
    app.add_middleware(Guard, app_state=app.state, log=log or JsonLog())
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(config.cors_origins),
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type", "x-request-id"],
            expose_headers=["x-request-id", "retry-after"],
        )
    return app


async def _tell(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)
    return JSONResponse(error_body(error), error.status, headers=error.headers)


def _add_own_routes(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def home() -> RedirectResponse:
        config = app.state.config
        has_chat = config.chat and app.state.models.list()
        return RedirectResponse(
            "/chat/" if has_chat else "/pages/" if config.pages else "/openapi.json"
        )

    @app.get("/health", include_in_schema=False)
    async def health() -> JSONResponse:
        is_draining = app.state.service.is_draining
        status = "draining" if is_draining else "ok"
        return JSONResponse({"status": status}, 503 if is_draining else 200)

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(app.state.metrics.text(), media_type=CONTENT_TYPE_LATEST)
