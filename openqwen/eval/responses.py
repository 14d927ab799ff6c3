"""Every reply and log-likelihood, kept as it comes, so that a killed measurement goes on.

store = Responses(out / "responses.jsonl")
key = store.key("reply", model.name, prompt, options)
store.find(key) or store.keep(key, value)
model = Remembering(model, store)          # a TextModel that asks each thing once
"""

import hashlib
import json
from collections.abc import Generator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openqwen.agent.models import Options, Prompt, Reply, TextModel
from openqwen.core.log import warn

BATCH = 64  # prompts that are asked for together: what a kill may cost


class Responses:
    """Key -> value in a file that only grows; a half line that a kill left is dropped."""

    def __init__(self, path: Path | None) -> None:
        """Read what is there; None keeps nothing on disk."""
        self._path = path
        self._found: dict[str, Any] = {}
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes() if path.is_file() else b""
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines():
            try:
                row = json.loads(line)
                self._found[row["key"]] = row["value"]
            except (ValueError, KeyError, TypeError):
                warn(f"{path}: a line that is no response was passed over")
        if len(whole) < len(data):
            with path.open("rb+") as file:
                file.truncate(len(whole))

    def __len__(self) -> int:
        return len(self._found)

    @staticmethod
    def key(*parts: Any) -> str:
        """Return a hash of anything that JSON can say."""
        text = json.dumps(parts, ensure_ascii=False, sort_keys=True, default=str)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def find(self, key: str) -> Any:
        """Return the value kept under a key, or None."""
        return self._found.get(key)

    def keep(self, key: str, value: Any) -> Any:
        """Keep a value and return it."""
        self.keep_all([(key, value)])
        return value

    def keep_all(self, pairs: Sequence[tuple[str, Any]]) -> None:
        """Keep many values with one write."""
        self._found.update(pairs)
        if self._path is not None:
            rows = [json.dumps({"key": key, "value": value}) for key, value in pairs]
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(row + "\n" for row in rows))


class Remembering:
    """A TextModel whose replies are kept: what was asked before is not computed again."""

    def __init__(self, model: TextModel, store: Responses) -> None:
        """Take the model and where its replies are kept."""
        self.model, self.name, self.store = model, model.name, store

    def reply(self, prompts: Sequence[Prompt], options: Options) -> list[Reply]:
        """Return one reply a prompt, in order; prompts that are new are asked in batches."""
        keys = [self._key(prompt, options, i) for i, prompt in enumerate(prompts)]
        missing = [i for i, key in enumerate(keys) if self.store.find(key) is None]
        for begin in range(0, len(missing), BATCH):
            chosen = missing[begin : begin + BATCH]
            replies = self._ask(prompts, chosen, options)
            self.store.keep_all(
                [(keys[i], asdict(reply)) for i, reply in zip(chosen, replies, strict=True)]
            )
        return [Reply(**self.store.find(key)) for key in keys]

    def stream(self, prompt: Prompt, options: Options) -> Generator[str, None, Reply]:
        """Yield a reply; one that was kept comes in one piece."""
        key = self._key(prompt, options, 0)
        kept = self.store.find(key)
        if kept is not None:
            yield kept["text"]
            return Reply(**kept)
        reply = yield from self.model.stream(prompt, options)
        self.store.keep(key, asdict(reply))
        return reply

    def _ask(
        self, prompts: Sequence[Prompt], chosen: Sequence[int], options: Options
    ) -> list[Reply]:
        """Ask for some of the prompts, each with the seed that its place gives it."""
        if options.temperature == 0 or list(chosen) == list(range(chosen[0], chosen[-1] + 1)):
            moved = Options(**asdict(options) | {"seed": options.seed + chosen[0]})
            return self.model.reply([prompts[i] for i in chosen], moved)
        return [
            self.model.reply([prompts[i]], Options(**asdict(options) | {"seed": options.seed + i}))[
                0
            ]
            for i in chosen
        ]

    def _key(self, prompt: Prompt, options: Options, place: int) -> str:
        seed = options.seed + place if options.temperature > 0 else 0
        return self.store.key("reply", self.name, prompt, asdict(options) | {"seed": seed})
