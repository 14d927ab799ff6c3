"""The terminal chat: streaming replies, a history that stays within the context, a few commands.

    Chat(lm, Sampling(temperature=0.7), stdin=sys.stdin, stdout=sys.stdout).run()

Works on a terminal and in a pipe, where nothing but replies and remarks is written.
"""

from dataclasses import dataclass
from typing import TextIO

from openqwen.core.config import to_plain
from openqwen.infer.config import Sampling
from openqwen.infer.load import LanguageModel
from openqwen.infer.terminal_text import TerminalText

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
        self._text = TerminalText(stdin, stdout)

    def run(self) -> None:
        """Talk until the input ends or `/exit`.

        Ctrl-C stops the reply and not the program; at the prompt it says how to leave.
        """
        if self._text.is_terminal:
            self._text.remark(f"{HELP}; Ctrl-C stops a reply, Ctrl-D leaves")
        for line in self._text.lines(leaving="/exit"):
            if not line.startswith("/"):
                self._reply(line)
            elif self._obey(line):
                return

    def _obey(self, line: str) -> bool:
        """Carry out a command; return whether to leave."""
        command, _, argument = line.partition(" ")
        argument = argument.strip()
        if command == "/exit":
            return True
        if command == "/clear":
            self.turns = []
            self._text.remark("conversation forgotten")
        elif command == "/system" and argument:
            self.system = argument
            self._text.remark("system prompt set; the conversation goes on (/clear forgets it)")
        elif command == "/system":
            self._text.remark("/system needs the text of the system prompt")
        else:
            self._text.remark(f"{command} is not a command: {HELP}")
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
                self._text.write(text)
        except StopIteration as end:
            self._text.write("\n")
            if not said:
                self._text.remark("the model ended its turn without a word")
            if end.value.finish_reason == "length":
                self._text.remark(f"cut after {_count(end.value.num_new_tokens, 'token')}")
        except KeyboardInterrupt:
            self._text.write("\n")
            self._text.remark("stopped")
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
            self._text.remark(
                f"left out {_count(dropped, 'turn')} at the beginning: "
                f"the context holds {self.lm.context:,} tokens"
            )
        if len(ids) >= self.lm.context:
            self._text.remark(
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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
