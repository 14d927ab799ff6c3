"""A model behind an OpenAI-compatible endpoint: `/v1/chat/completions` and `/v1/completions`.

    model = EndpointModel("http://127.0.0.1:8000/v1", "qwen")
    model.reply([[{"role": "user", "content": "Hi"}]], Options(max_new_tokens=64))[0].text
    model.chat(messages, [tool.definition()], Options())      # OpenAI's function calling

A text prompt goes to /completions, a conversation to /chat/completions. One whose last message is
the assistant's is continued: its ChatML goes to /completions as text, which any server with a
ChatML model understands, or to /chat/completions with `continue_final_message` (`continue_with`).

Servers recognise control tokens in whatever text they get. So what others wrote is sent with a
zero-width space inside anything that reads as a control token; only what a template wrote stays.
"""

import re
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from openqwen.agent.config import EndpointConfig
from openqwen.agent.http_requests import EndpointError, HttpClient
from openqwen.agent.models import Message, Options, Prompt, Reply
from openqwen.core.errors import UserError
from openqwen.core.log import warn
from openqwen.infer.stops import StopWatch
from openqwen.tokenizer.chatml import check_messages
from openqwen.tokenizer.control import IM_END, IM_START
from openqwen.tokenizer.template import DEFAULT_SYSTEM, template_parts

REFUSED = frozenset({400, 413, 422})  # the server won't take this prompt; others may pass
_CONTROL = re.compile(r"<(?=\|[\w.-]+\|>|/?tool_call>)")


class EndpointModel:
    """A model that an endpoint serves.

    Attributes:
        name: in results: the model's name and where it is.
        served: the model's name at the endpoint.
    """

    def __init__(
        self,
        url: str,
        model: str | None = None,
        api_key: str | None = None,
        config: EndpointConfig | None = None,
        *,
        default_system: str | None = DEFAULT_SYSTEM,
    ) -> None:
        """Take the address and the model's name there; None asks for the only one it serves.

        `default_system` opens a continued conversation without a system message; others are left to
        the server's template.

        Raises:
            UserError: if the address is none, or the endpoint serves no model, or several.
        """
        self.config = config or EndpointConfig()
        self._client = HttpClient(url, api_key=api_key, config=self.config)
        self.served = model or self._only_model()
        self.name = f"{self.served} at {self._client.base}"
        self._default_system = default_system

    def describe(self) -> str:
        """Return one line: the address and how it is asked."""
        return f"endpoint {self._client.base}, {self.config.concurrency} requests at once"

    def reply(self, prompts: Sequence[Prompt], options: Options) -> list[Reply]:
        """Return one reply a prompt, in order; several are asked for at once.

        A prompt that the server refuses (too long, say) gets an empty reply with finish reason
        `error`, and one line tells of it.

        Raises:
            EndpointError: if the endpoint can't be used, or refuses every prompt.
        """
        refused: list[EndpointError] = []

        def ask(i: int) -> Reply:
            path, body = self._request(prompts[i], options, options.seed + i)
            try:
                return _read_reply(self._client.post(path, body), body.get("stop", ()))
            except EndpointError as error:
                if error.status not in REFUSED:
                    raise
                refused.append(error)
                return Reply("", "error")

        with ThreadPoolExecutor(self.config.concurrency) as pool:
            futures = [pool.submit(ask, i) for i in range(len(prompts))]
            try:
                replies = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        if refused and len(refused) == len(prompts):
            raise refused[0]
        if refused:
            warn(f"{len(refused)} of {len(prompts)} prompts were refused: {refused[0]}")
        return replies

    def stream(self, prompt: Prompt, options: Options) -> Generator[str, None, Reply]:
        """Yield a reply in pieces of text; a possible start of a stop text is held back."""
        path, body = self._request(prompt, options, options.seed)
        body |= {"stream": True, "stream_options": {"include_usage": True}}
        watch = StopWatch(body.get("stop", ()))
        pieces: list[str] = []
        usage: dict[str, Any] = {}
        reason, stop = "length", None
        for event in self._client.stream(path, body):
            usage = event.get("usage") or usage
            choice = _first_choice(event)
            if choice is None:
                continue
            delta = choice.get("delta") or {}
            text = watch.push(str(choice.get("text") or delta.get("content") or ""))
            if text:
                pieces.append(text)
                yield text
            if choice.get("finish_reason"):
                reason, stop = _ending(choice)
            if watch.matched is not None:
                break
        if watch.matched is None and (rest := watch.flush()):
            pieces.append(rest)
            yield rest
        if watch.matched is not None:
            reason, stop = "stop", watch.matched
        return Reply("".join(pieces), reason, stop, *_counts(usage))

    def chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        options: Options,
    ) -> dict[str, Any]:
        """Return the response to messages in OpenAI's form, with functions that it may call."""
        body = self._sampling(options, options.seed) | {"messages": _guard_values(list(messages))}
        if tools:
            body["tools"] = _guard_values(list(tools))
        response = self._client.post("/chat/completions", body)
        if _first_choice(response) is None:
            raise EndpointError(f"{self._client.base}: a response without a choice", 200)
        found: dict[str, Any] = response
        return found

    def _only_model(self) -> str:
        listed = self._client.get("/models")
        rows = listed.get("data") if isinstance(listed, dict) else None
        names = [str(row["id"]) for row in rows or [] if isinstance(row, dict) and "id" in row]
        if len(names) != 1:
            shown = ", ".join(names[:8]) + (" …" if len(names) > 8 else "") or "none"
            raise UserError(
                f"{self._client.base} serves {len(names)} models ({shown}); name one: "
                f"{self._client.base}#NAME"
            )
        return names[0]

    def _sampling(self, options: Options, seed: int) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self.served,
            "max_tokens": options.max_new_tokens,
            "temperature": options.temperature,
            "top_p": options.top_p,
            "seed": seed,
        }
        return body | ({"stop": list(options.stop)} if options.stop else {})

    def _request(self, prompt: Prompt, options: Options, seed: int) -> tuple[str, dict[str, Any]]:
        """Return the path and the body that ask for one reply."""
        body = self._sampling(options, seed)
        if isinstance(prompt, str):
            return "/completions", body | {"prompt": guard(prompt)}
        check_messages(prompt)
        is_continued = prompt[-1]["role"] == "assistant"
        if is_continued and self.config.continue_with == "completions":
            body["prompt"] = _as_chatml(prompt, self._default_system)
            return "/completions", body | {"stop": [*options.stop, IM_END]}
        said = [{"role": m["role"], "content": guard(m["content"])} for m in prompt]
        body["messages"] = said
        if is_continued:
            body |= {"continue_final_message": True, "add_generation_prompt": False}
        return "/chat/completions", body


def guard(text: str) -> str:
    """Return a text in which nothing that others wrote reads as a control token."""
    return "".join(
        part if is_control else _CONTROL.sub("<\u200b", part)
        for part, is_control in template_parts(text)
    )


def _guard_values(value: Any) -> Any:
    """Guard every text inside JSON values."""
    if isinstance(value, str):
        return guard(value)
    if isinstance(value, Mapping):
        return {key: _guard_values(each) for key, each in value.items()}
    return [_guard_values(each) for each in value] if isinstance(value, list | tuple) else value


def _as_chatml(messages: Sequence[Message], default_system: str | None) -> str:
    """Return a conversation as ChatML, open after the last message."""
    said = list(messages)
    if default_system is not None and all(m["role"] != "system" for m in said):
        said.insert(0, {"role": "system", "content": default_system})
    turns = [f"{IM_START}{m['role']}\n{guard(m['content'])}" for m in said]
    return f"{IM_END}\n".join(turns)


def _read_reply(response: Any, stops: Sequence[str]) -> Reply:
    choice = _first_choice(response)
    if choice is None:
        raise EndpointError(f"the endpoint's response has no choice: {str(response)[:100]}", 200)
    message = choice.get("message") or {}
    watch = StopWatch(stops)
    text = watch.push(str(choice.get("text") or message.get("content") or ""))
    reason, stop = _ending(choice)
    if watch.matched is not None:
        reason, stop = "stop", watch.matched
    else:
        text += watch.flush()
    return Reply(text, reason, stop, *_counts(response.get("usage") or {}))


def _first_choice(response: Any) -> dict[str, Any] | None:
    choices = response.get("choices") if isinstance(response, dict) else None
    found = choices[0] if isinstance(choices, list) and choices else None
    return found if isinstance(found, dict) else None


def _ending(choice: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the finish reason in our words, and the stop text where the server tells (vLLM)."""
    reason = choice.get("finish_reason")
    stop = choice.get("stop_reason")
    known = {"length": "length", "content_filter": "error", "error": "error", "abort": "error"}
    return known.get(str(reason), "stop"), stop if isinstance(stop, str) else None


def _counts(usage: Mapping[str, Any]) -> tuple[int, int]:
    counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    prompt, new = (n if isinstance(n, int) else 0 for n in counts)
    return prompt, new
