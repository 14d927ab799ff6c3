"""The terminal chat: streaming replies, a history that stays within the context, a few commands.

    Chat(lm, Sampling(temperature=0.7), stdin=sys.stdin, stdout=sys.stdout).run()

Works on a terminal and in a pipe, where nothing but replies and remarks is written.
"""

from dataclasses import dataclass
from typing import TextIO

from openqwen.core.config import to_plain
from openqwen.infer.config import Sampling
from openqwen.infer.load import LanguageModel

HELP = "/clear forgets the conversation, /system TEXT sets the system prompt, /exit leaves"


@dataclass(frozen=True)
class Turn:
    """What was asked and what was answered."""

    user: str
    assistant: str


class Chat:
    """One conversation with a model over a pair of text streams."""

    def __init__(
        self,
        lm: LanguageModel,
        sampling: Sampling,
        *,
        stdin: TextIO,
        stdout: TextIO,
        system: str | None = None,
    ) -> None:
        """Start with an empty history; `system` None is ChatML's default system prompt."""
        self.lm, self.sampling, self.system = lm, sampling, system
        self.turns: list[Turn] = []
        self._stdin, self._stdout = stdin, stdout
        self._is_terminal = stdin.isatty() and stdout.isatty()

    def run(self) -> None:
        """Talk until the input ends or `/exit`.

        Ctrl-C stops the reply and not the program; at the prompt it says how to leave.
        """
        if self._is_terminal:
            self._remark(f"{HELP}; Ctrl-C stops a reply, Ctrl-D leaves")
        while True:
            try:
                line = self._read()
            except KeyboardInterrupt:
                self._write("\n")
                self._remark("Ctrl-D or /exit leaves")
                continue
            except EOFError:
                if self._is_terminal:
                    self._write("\n")
                return
            if line.startswith("/"):
                if self._obey(line):
                    return
            elif line:
                self._reply(line)

    def _read(self) -> str:
        """Return the next line, stripped; on the program's own terminal with line editing."""
        if self._is_terminal and self._stdin.fileno() == 0 and self._stdout.fileno() == 1:
            import readline  # noqa: F401  (gives input() history and editing)

            return input("> ").strip()
        if self._is_terminal:
            self._write("> ")
        line = self._stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    def _obey(self, line: str) -> bool:
        """Carry out a command; return whether to leave."""
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        if command == "/exit":
            return True
        if command == "/clear":
            self.turns = []
            self._remark("conversation forgotten")
        elif command == "/system" and argument:
            self.system = argument
            self._remark("system prompt set; the conversation goes on (/clear forgets it)")
        elif command == "/system":
            self._remark("/system needs the text of the system prompt")
        else:
            self._remark(f"{command} is not a command: {HELP}")
        return False

    def _reply(self, user: str) -> None:
        """Stream the answer to `user` and remember both."""
        prompt_ids = self._fit(user)
        room = max(1, self.lm.context - len(prompt_ids))
        settings = to_plain(self.sampling)
        settings["max_new_tokens"] = min(self.sampling.max_new_tokens, room)
        # one seed a turn: the same question asked twice should be drawn anew
        settings["seed"] += len(self.turns)
        said: list[str] = []
        try:
            stream = self.lm.stream(prompt_ids, **settings)
            while True:
                text = next(stream)
                said.append(text)
                self._write(text)
        except StopIteration as end:
            self._write("\n")
            if not said:
                self._remark("the model ended its turn without a word")
            if end.value.finish_reason == "length":
                self._remark(f"cut after {_count(end.value.num_new_tokens, 'token')}")
        except KeyboardInterrupt:
            self._write("\n")
            self._remark("stopped")
        self.turns.append(Turn(user, "".join(said)))

    def _fit(self, user: str) -> list[int]:
        """Return the prompt's ids, oldest turns dropped for good until prompt and reply fit."""
        reserve = min(self.sampling.max_new_tokens, self.lm.context // 2)
        dropped = 0
        ids = self._render(user)
        while self.turns and len(ids) + reserve > self.lm.context:
            self.turns.pop(0)
            dropped += 1
            ids = self._render(user)
        if dropped:
            self._remark(
                f"left out {_count(dropped, 'turn')} at the beginning: "
                f"the context holds {self.lm.context:,} tokens"
            )
        if len(ids) >= self.lm.context:
            self._remark(
                f"this message makes {len(ids):,} tokens, the context holds "
                f"{self.lm.context:,}; --context {2 * len(ids)} extends it"
            )
        return ids

    def _render(self, user: str) -> list[int]:
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.turns:
            messages.append({"role": "user", "content": turn.user})
            messages.append({"role": "assistant", "content": turn.assistant})
        return self.lm.encode([*messages, {"role": "user", "content": user}])

    def _remark(self, text: str) -> None:
        self._write(f"({text})\n")

    def _write(self, text: str) -> None:
        self._stdout.write(text)
        self._stdout.flush()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
