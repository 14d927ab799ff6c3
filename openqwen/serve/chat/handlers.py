"""What happens when something is sent, edited, tried again, stopped or opened on the chat page.

handlers = Handlers(app.state, sessions, parts)      # bound to gradio's events in `view.py`
"""

import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import gradio as gr
from pydantic import ValidationError
from starlette.datastructures import State

from openqwen.core.errors import UserError
from openqwen.serve.chat.parts import CHOICES, Parts
from openqwen.serve.chat.replies import reply
from openqwen.serve.chat.sessions import Session, Sessions
from openqwen.serve.chat.show import place_in, show
from openqwen.serve.chat.talk import Choices, Message, Talk, read_talk, write_talk
from openqwen.serve.chat.tool_runs import form_of, open_text_model, run_tools
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel

UPDATE_S = 0.08  # between two updates of the page
KEEP_S = 2.0  # between two versions that the browser keeps of a growing answer
MAX_MESSAGE_CHARS = 1_000_000
LOGGER = logging.getLogger("uvicorn.error")
Update = dict[Any, Any]  # part of the page -> its new value


class Handlers:
    """The page's events."""

    def __init__(self, state: State, sessions: Sessions, parts: Parts) -> None:
        """Take the server's state, the open tabs, and the parts of the page."""
        self._state, self._sessions, self._parts = state, sessions, parts

    async def send(self, given: Update, request: gr.Request) -> AsyncIterator[Update]:
        """Answer what was typed."""
        text = str(given[self._parts.box] or "")[:MAX_MESSAGE_CHARS].strip()
        if not text:
            yield {self._parts.box: ""}
            return
        async for update in self._answer(self._talk(given).asked(text), request, typed=text):
            yield update

    async def retry(
        self, given: Update, request: gr.Request, event: gr.RetryData
    ) -> AsyncIterator[Update]:
        """Answer once more, forgetting the answer and what followed."""
        talk = self._talk(given)
        talk = talk.before_answer(place_in(talk, _index(event.index)))
        async for update in self._answer(talk, request):
            yield update

    async def edit(
        self, given: Update, request: gr.Request, event: gr.EditData
    ) -> AsyncIterator[Update]:
        """Put another question in the place of an earlier one and answer it."""
        talk = self._talk(given)
        text, place = (
            str(event.value)[:MAX_MESSAGE_CHARS].strip(),
            place_in(talk, _index(event.index)),
        )
        if not text or not talk.messages or talk.messages[place].role != "user":
            yield {self._parts.chatbot: show(talk)}
            return
        async for update in self._answer(talk.asked(text, at=place), request):
            yield update

    def stop(self, request: gr.Request) -> None:
        """End the answer under way."""
        self._session(request).stop()

    def open(self, text: str, typed: str | None, request: gr.Request) -> Update:
        """Show the conversation that the browser has chosen, and what was typed and not sent."""
        self._session(request).stop()
        talk, parts = read_talk(text), self._parts
        names = [model.name for model in self._state.models.list()]
        choices = talk.choices.model_dump()
        choices["model"] = choices["model"] if choices["model"] in names else names[0]
        choices["tools"] = [name for name in choices["tools"] if name in self._state.config.tools]
        return {
            parts.chatbot: show(talk),
            parts.talk: write_talk(talk),
            parts.box: gr.update(  # not before the conversation is here
                value=(typed or "")[:MAX_MESSAGE_CHARS], interactive=True
            ),
            **{parts.choices[name]: choices[name] for name in CHOICES},
            **self._buttons(is_busy=False),
        }

    async def _answer(
        self, talk: Talk, request: gr.Request, *, typed: str | None = None
    ) -> AsyncIterator[Update]:
        """Show a conversation that ends with a question, and its answer as it grows."""
        parts, session = self._parts, self._session(request)
        answer = Message(role="assistant")
        try:
            with session.work(self._at_once(session.client)):
                shown, kept = 0.0, time.monotonic()
                yield self._all(talk) | {parts.box: ""} | self._buttons(is_busy=True)
                async for answer in self._reply(talk, session, request):
                    now = time.monotonic()
                    if now - shown < UPDATE_S:
                        continue
                    shown, grown = now, talk.answered(answer)
                    yield {parts.chatbot: show(grown)}
                    if now - kept > KEEP_S:
                        kept = now
                        yield {parts.talk: write_talk(grown)}
        except UserError as error:
            answer = answer.model_copy(update={"ending": "error", "error": describe(error)})
        except Exception:
            LOGGER.exception("the chat page failed")
            answer = answer.model_copy(update={"ending": "error", "error": "failed"})
        yield self._all(talk.answered(answer)) | self._buttons(is_busy=False)

    def _reply(self, talk: Talk, session: Session, request: gr.Request) -> AsyncIterator[Message]:
        """Return the answer's stream: of the agent where tools are chosen, else of the engine."""
        served = self._model(talk)
        client = client_of(session.client, request, has_keys=bool(self._state.config.keys))
        service = self._state.service
        allowed = self._state.config.tools
        names = [name for name in allowed if name in talk.choices.tools]
        if not names:
            return reply(service, served, talk, session, client=client)
        model = open_text_model(service, served, talk, session, client)
        return run_tools(model, talk, names, session, form=form_of(served))

    def _model(self, talk: Talk) -> ServedModel:
        models = self._state.models
        found: ServedModel = models.get(talk.choices.model or models.list()[0].name)
        return found

    def _talk(self, given: Update) -> Talk:
        """Return the conversation with the choices that the page shows now."""
        talk = read_talk(given[self._parts.talk])
        found = {name: given[self._parts.choices[name]] for name in CHOICES}
        for name in ("top_k", "max_tokens", "seed"):
            found[name] = int(found[name]) if found[name] is not None else None
        known = {
            name: value for name, value in found.items() if value is not None or name == "seed"
        }
        try:
            choices = Choices.model_validate(known)
        except ValidationError as error:
            raise gr.Error(str(error.errors()[0]["msg"])) from None
        return talk.model_copy(update={"choices": choices})

    def _session(self, request: gr.Request) -> Session:
        return self._sessions.get(request.state.client, request.session_hash or "")

    def _at_once(self, client: str) -> int:
        config = self._state.config
        own = config.keys[client].max_concurrent if client in config.keys else None
        return int(config.max_concurrent if own is None else own)

    def _all(self, talk: Talk) -> Update:
        return {self._parts.chatbot: show(talk), self._parts.talk: write_talk(talk)}

    def _buttons(self, *, is_busy: bool) -> Update:
        return {
            self._parts.send: gr.update(visible=not is_busy),
            self._parts.stop: gr.update(visible=is_busy),
        }


def client_of(caller: str, request: gr.Request, *, has_keys: bool) -> str:
    """Return whose turn an answer takes: a key's holder has one, else each tab its own."""
    return caller if has_keys else f"{caller} tab {(request.session_hash or '')[:12]}"


def describe(error: UserError) -> str:
    """Return an error as a conversation keeps it: what the page says, and the server's own line."""
    code = getattr(error, "code", None)
    status = getattr(error, "status", 0)
    key = "refused"
    if code == "context_length_exceeded":
        key = "too_long"
    elif code == "model_not_found":
        key = "no_model"
    elif code == "draining":
        key = "stopping"
    elif status == 429:
        key = "busy"
    elif status in (408, 503, 504):
        key = "timeout" if status != 503 else "busy"
    elif isinstance(error, ApiError) and status >= 500:
        key = "failed"
    return f"{key}:{error}"


def _index(index: int | tuple[int, int]) -> int:
    return index if isinstance(index, int) else index[0]
