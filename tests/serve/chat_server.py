"""`openqwen serve` for the chat page's tests: as it is, or with a model that says what is written.

    python tests/serve/chat_server.py MODEL --port 0                # as it is
    python tests/serve/chat_server.py MODEL --port 0 --script FILE  # a JSON list of replies

A script takes the place of the weights where tools are used: the page, the agent's loop, its tools
and the sandbox are the real ones.
"""

import json
import sys
import time
from pathlib import Path

import openqwen.serve.chat.handlers as handlers
from openqwen.agent.models import Reply
from openqwen.cli.main import main
from openqwen.infer.stops import StopWatch

PIECE_S = 0.002


class WrittenModel:
    """Says the next of its replies, a character a piece."""

    name = "written"

    def __init__(self, replies):
        self._replies = replies

    def stream(self, prompt, options):
        text, watch, said = self._replies.pop(0), StopWatch(options.stop), []
        for char in text:
            time.sleep(PIECE_S)
            piece = watch.push(char)
            said.append(piece)
            yield piece
            if watch.matched:
                break
        if not watch.matched:
            said.append(watch.flush())
            yield said[-1]
        return Reply("".join(said), "stop", watch.matched, len(str(prompt)), len(text))


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if "--script" in arguments:
        at = arguments.index("--script")
        replies = json.loads(Path(arguments[at + 1]).read_text())
        del arguments[at : at + 2]
        handlers.open_text_model = lambda *_: WrittenModel(replies)
    sys.exit(main(["serve", *arguments]))
