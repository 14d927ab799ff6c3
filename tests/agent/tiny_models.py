"""Models for the agent's tests: a script in place of weights, and real tiny exports."""

from tiny_exports import write_reciting as write_export_reciting

from openqwen.agent.models import Options, Reply
from openqwen.infer.stops import StopWatch


class ScriptedModel:
    """Says what a script tells, a character a piece, minding stops and length as models do."""

    name = "script"

    def __init__(self, *texts, after_piece=None):
        self.texts, self.prompts, self.options = list(texts), [], []
        self._after_piece = after_piece or (lambda: None)

    def reply(self, prompts, options):
        replies = []
        for prompt in prompts:
            stream = self.stream(prompt, options)
            try:
                while True:
                    next(stream)
            except StopIteration as end:
                replies.append(end.value)
        return replies

    def stream(self, prompt, options: Options):
        self.prompts.append(prompt)
        self.options.append(options)
        text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
        watch, said = StopWatch(options.stop), []
        reason = "stop"
        for count, char in enumerate(text):
            if count == options.max_new_tokens:
                reason = "length"
                break
            piece = watch.push(char)
            self._after_piece()
            if piece:
                said.append(piece)
                yield piece
            if watch.matched:
                break
        if not watch.matched and (rest := watch.flush()):
            said.append(rest)
            yield rest
        whole = "".join(said)
        return Reply(whole, reason, watch.matched, len(str(prompt)), len(whole))


def write_reciting(directory, text):
    """An export that answers a line break with `text`, and has room for an agent's prompt."""
    return write_export_reciting(directory, text, train_length=4096)
