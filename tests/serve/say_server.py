"""`openqwen serve` with one plain route more, so that the runtime is tested without the API.

python tests/serve/say_server.py MODEL --port 0
POST /v1/say?tokens=100&model=NAME    streams the reply to the body; &whole=1 sends it at its end
"""

import sys

from fastapi import Request
from fastapi.responses import PlainTextResponse, StreamingResponse

import openqwen.serve.app
from openqwen.cli.main import main


def add_say(app):
    @app.post("/v1/say")
    async def say(request: Request, model: str, tokens: int, whole: bool = False):
        served = app.state.models.get(model)
        made = served.request((await request.body()).decode(), max_new_tokens=tokens)
        stream = await app.state.service.submit(served, made, client=request.state.client)
        if whole:
            return PlainTextResponse((await stream.collect()).text)
        await stream.started()

        async def texts():
            async for piece in stream:
                yield piece.text

        return StreamingResponse(texts(), media_type="text/plain")

    @app.post("/v1/flood")
    async def flood():
        """More than all buffers between here and a client hold."""

        async def texts():
            for _ in range(1024):
                yield b"x" * 65_536

        return StreamingResponse(texts(), media_type="text/plain")


if __name__ == "__main__":
    add_api = openqwen.serve.app.add_api

    def add_both(app):
        add_api(app)
        add_say(app)

    openqwen.serve.app.add_api = add_both
    sys.exit(main(["serve", *sys.argv[1:]]))
