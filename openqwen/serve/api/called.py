"""A reply that may call tools, split into text and calls while it comes.

reply = CallingReply("qwen", is_called=True)
reply.push("Let me see.\\n<tool")         # "Let me see.\\n"
reply.push("_call>\\n{…")                 # ""
message, reason = reply.finish(result)
"""

from typing import Any

from openqwen.agent.functions import as_completion
from openqwen.agent.models import Reply
from openqwen.agent.tool_call import OPEN
from openqwen.infer.request import Result
from openqwen.infer.stops import StopWatch

FENCE = "```"


class CallingReply:
    """One reply to a request with tools; without tools all text passes at once."""

    def __init__(self, model: str, *, is_called: bool) -> None:
        """Watch for calls where `is_called`."""
        self._model, self._is_called = model, is_called
        self._watch = StopWatch((OPEN,) if is_called else ())
        self._begin = ""  # what may be a call without tags, as long as nothing else has come
        self._is_begun = not is_called
        self._told = ""

    def push(self, text: str) -> str:
        """Take text; return what is certain to be no part of a call."""
        if not self._is_begun:
            self._begin += text
            start = self._begin.lstrip()
            if not start or start[0] == "{" or start.startswith(FENCE) or FENCE.startswith(start):
                return ""  # Qwen2.5-Coder leaves the tags out
            self._is_begun, text = True, self._begin
        passed = self._watch.push(text)
        self._told += passed
        return passed

    def finish(self, result: Result) -> tuple[dict[str, Any], str]:
        """Return the message and the reason of its end; its content is what was not told yet."""
        reply = Reply(result.text, result.finish_reason)
        if not self._is_called:
            return {
                "role": "assistant",
                "content": result.text[len(self._told) :],
            }, reply.finish_reason
        choice = as_completion(self._model, reply, bare=True)["choices"][0]
        message = choice["message"]
        if "tool_calls" in message:
            rest = message["content"].removeprefix(self._told.strip()).strip()
            message["content"] = rest or None
        else:
            message["content"] = result.text[len(self._told) :]
        return message, choice["finish_reason"]
