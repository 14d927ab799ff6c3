"""The chat page at `/chat/`, in the server's process.

mount_chat(app)

gradio draws it; conversations live in the browser, answers come from `app.state.service`.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from importlib.resources import files
from typing import Any

import gradio as gr
from fastapi import FastAPI
from starlette.routing import Mount

from openqwen.serve.chat.door import Door
from openqwen.serve.chat.labels import translations
from openqwen.serve.chat.sessions import Sessions
from openqwen.serve.chat.view import build_view

PATH = "/chat"
SWEEP_S = 60.0
FONTS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "PingFang SC",
         "Microsoft YaHei", "sans-serif")  # fmt: skip
CODE_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono",
              "monospace")  # fmt: skip


def mount_chat(app: FastAPI) -> None:
    """Add the chat page to a server that has a model; without one there is nobody to talk to."""
    if not app.state.models.list():
        return
    sessions = Sessions()
    app.state.chat_sessions = sessions
    blocks = build_view(app.state, sessions)
    theme = gr.themes.Base(
        primary_hue="indigo",
        neutral_hue="slate",
        radius_size="lg",
        font=FONTS,
        font_mono=CODE_FONTS,
    )
    gr.mount_gradio_app(
        app,
        blocks,
        PATH,
        footer_links=[],
        run_history=False,
        show_error=True,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        i18n=translations(),
        theme=theme,
        css=_read("chat.css"),
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = Door(mounted.app, sessions, PATH, head=f"<script>{_read('chat.js')}</script>")
    _end_with(app, sessions)


def _end_with(app: FastAPI, sessions: Sessions) -> None:
    """End the tabs' Python sessions when they are idle for long, and all with the server."""
    inner = app.router.lifespan_context

    @contextlib.asynccontextmanager
    async def lifespan(running: FastAPI) -> AsyncIterator[Any]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(SWEEP_S)
                sessions.sweep(time.monotonic())

        sweeper = asyncio.create_task(sweep())
        try:
            async with inner(running) as state:
                yield state
        finally:
            sweeper.cancel()
            sessions.close_all()

    app.router.lifespan_context = lifespan


def _read(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")
