"""Processes that take turns, so that programs from different environments meet in one run.

    with Runner([python, "peer.py", "--job", "..."]) as peer:     # the parent's side
        print(peer.about, peer.ask({"task": "prefill"}))

    serve(about, answer)                                          # the child's side

One JSON line each way. Between its turns a child is stopped by a signal, so that threads that wait
by spinning cannot take time from the one whose turn it is. Standard library only: peers import it.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any


class Runner:
    """A child process that answers one question at a time and stands still in between.

    Attributes:
        about: what it said of itself at the start.
    """

    def __init__(self, command: list[str], *, environment: dict[str, str] | None = None) -> None:
        """Start the child and wait until it is ready."""
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.command = command
        self.about = self._read()
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        """Wake the child, return its answer, stop it again."""
        assert self.process.stdin is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self._read()
        self.process.send_signal(signal.SIGSTOP)
        return answer

    def close(self) -> None:
        """End the child."""
        self.process.kill()
        self.process.wait()

    def __enter__(self) -> "Runner":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.command[:3])} ended; its own words are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(
    prepare: Callable[[], tuple[dict[str, Any], Callable[[dict[str, Any]], dict[str, Any]]]],
) -> None:
    """Answer questions until the parent ends; whatever libraries print goes to standard error.

    Args:
        prepare: loads; returns what to say of oneself and the function that answers a question.
    """
    answers = os.dup(1)
    os.dup2(2, 1)

    def say(row: dict[str, Any]) -> None:
        os.write(answers, (json.dumps(row) + "\n").encode())

    about, answer = prepare()
    say(about)
    for line in sys.stdin:
        say(answer(json.loads(line)))
