"""A served model as agents ask it: from any thread, in the same batch as everybody's requests.

model = ServedTextModel(service, models.get("qwen"), client="alice")
run_agent(model, tools, "What is 17 * 23?", AgentConfig())
"""

from collections.abc import Generator, Sequence
from typing import Any

from openqwen.agent.models import LocalModel, Options, Prompt, Reply
from openqwen.infer.request import Result
from openqwen.serve.errors import ApiError
from openqwen.serve.models import ServedModel
from openqwen.serve.service import Service, ThreadStream


class ServedTextModel:
    """The agent room's `TextModel` on a served model."""

    def __init__(self, service: Service, model: ServedModel, client: str, **sampling: Any) -> None:
        """Ask `model` in `client`'s name; `sampling` beside what agents' options have."""
        self.name = model.name
        self._sampling = sampling
        self._open: set[ThreadStream] = set()
        self._service, self._model, self._client = service, model, client
        self._local = LocalModel(model.lm, model.name, default_system=model.default_system)

    def reply(self, prompts: Sequence[Prompt], options: Options) -> list[Reply]:
        """Return one reply a prompt, in order, computed together.

        Raises:
            ApiError: (a UserError) if the server refuses one, or it ends badly.
        """
        streams: list[ThreadStream] = []
        try:
            for number, prompt in enumerate(prompts):
                streams.append(self._submit(prompt, options, options.seed + number))
            return [_finish(stream) for stream in streams]
        finally:
            for stream in streams:
                stream.cancel()
                self._open.discard(stream)

    def stream(self, prompt: Prompt, options: Options) -> Generator[str, None, Reply]:
        """Yield a reply in pieces of text; closing the generator ends it.

        Raises:
            ApiError: as `reply`.
        """
        stream = self._submit(prompt, options, options.seed)
        try:
            for piece in stream:
                if piece.text:
                    yield piece.text
        finally:
            stream.cancel()
            self._open.discard(stream)
        assert stream.result is not None
        return _as_reply(stream.result)

    def cancel(self) -> None:
        """End the replies under way, from any thread."""
        for stream in list(self._open):
            stream.cancel()

    def _submit(self, prompt: Prompt, options: Options, seed: int) -> ThreadStream:
        ids = self._local.encode(prompt)
        room = self._model.lm.context - len(ids)
        if room < 1:
            raise ApiError(
                400,
                f"the conversation has {len(ids):,} tokens, the context of {self.name} is "
                f"{self._model.lm.context:,}",
                param="messages",
                code="context_length_exceeded",
            )
        request = self._model.request(
            ids,
            max_new_tokens=min(options.max_new_tokens, room),
            stop=options.stop,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=seed,
            **self._sampling,
        )
        stream = self._service.submit_from_thread(self._model, request, client=self._client)
        self._open.add(stream)
        return stream


def _finish(stream: ThreadStream) -> Reply:
    for _ in stream:
        pass
    assert stream.result is not None
    return _as_reply(stream.result)


def _as_reply(result: Result) -> Reply:
    reason = "error" if result.finish_reason == "cancelled" else result.finish_reason
    return Reply(result.text, reason, result.stop, result.num_prompt_tokens, result.num_new_tokens)
