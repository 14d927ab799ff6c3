"""Models for the agent's tests: a script in place of weights, and real tiny exports."""

import itertools

import torch

from openqwen.agent.models import Options, Reply
from openqwen.infer.stops import StopWatch
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export
from openqwen.tokenizer.tokenizer import Tokenizer

ROWS = 512


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


def byte_tokenizer(controls=None):
    """One token a byte, and control tokens: Qwen's own, or those named."""
    named = None if controls is None else {name: 256 + i for i, name in enumerate(controls)}
    return Tokenizer({bytes([i]): i for i in range(256)}, controls=named)


def write_reciting(directory, text, *, after=10):
    """An export that answers the token `after` (a line break) with `text`, of distinct bytes."""
    tokenizer = byte_tokenizer()
    chain = [after, *text.encode(), tokenizer.im_end_id]
    assert len(set(chain)) == len(chain), "a chain must not meet itself"
    config = qwen_config(
        hidden_size=ROWS, num_attention_heads=4, num_hidden_layers=1, vocab_size=ROWS,
        train_length=4096,
    )  # fmt: skip
    model = new_decoder(config, seed=0)
    with torch.no_grad():
        model.embed_tokens.weight.copy_(torch.eye(ROWS))
        model.layers[0].attention.out.weight.zero_()
        model.layers[0].mlp.down.weight.zero_()
        model.lm_head.weight.zero_()
        for now, following in itertools.pairwise(chain):
            model.lm_head.weight[following, now] = 10.0
    write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(directory)
    return directory
