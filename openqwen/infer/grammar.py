"""Replies that must be JSON of a schema, or calls of tools: llguidance's grammars on our tokens.

    grammars = lm.grammars                              # one for a model, made once
    constraint = grammars.json_schema({"type": "object", "properties": {"n": {"type": "integer"}}})
    lm.request("…", constraint=constraint)
    grammars.tool_calls(tools, many=True)               # <tool_call>\\n{"name": …}\\n</tool_call>

A control token is never part of a text: in a string only a look-alike of ordinary tokens may come.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openqwen.core.errors import UserError
from openqwen.core.packages import fix_for
from openqwen.infer.constraint import Constraint
from openqwen.tokenizer.tokenizer import Tokenizer

CALL_BEGIN, CALL_END = "<tool_call>", "</tool_call>"
MOST_CALLS = 8
# What may stand between the parts of a JSON text: nothing, a space, or a line break and its
# indentation. Without a bound a weak model goes on with spaces until its tokens are used up.
SPACING = {"whitespace_pattern": r"[\x20]?|\n[\x20]{0,40}"}
NO_PARAMETERS = {"type": "object", "properties": {}, "additionalProperties": False}


class Grammars:
    """Makes constraints for one tokenizer; safe to use from several threads."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int]) -> None:
        """Sort the vocabulary into a tree, about a second for 150,000 tokens.

        Args:
            tokenizer: the model's.
            vocab_size: rows of the model's output; those without a token are never allowed.
            stop_ids: ids that may come where a text is complete.

        Raises:
            UserError: if llguidance is not installed.
        """
        try:
            from llguidance import LLMatcher, LLParserLimits, LLTokenizer
        except ImportError:
            raise UserError(
                f"replies held to a schema need llguidance: {fix_for('llguidance')}"
            ) from None
        self._controls = tokenizer.control_tokens
        self._matcher = LLMatcher
        self._limits = LLParserLimits(verbose_errors=False)  # else they quote what was written
        tokens: Any = _Tokens(tokenizer, vocab_size, stop_ids)
        self._tokens = LLTokenizer(tokens, len(tokens.tokens), tokens.stop_ids)

    def json_schema(self, schema: Mapping[str, Any]) -> Constraint:
        """Return a constraint to JSON texts of a schema, properties in the schema's order.

        Raises:
            UserError: if nothing fits the schema, or a keyword of it is not supported.
        """
        return self._start(self._from_schema(_spaced(schema), "the JSON schema"), "the JSON schema")

    def json_object(self) -> Constraint:
        """Return a constraint to JSON objects."""
        return self.json_schema({"type": "object"})

    def tool_calls(
        self, tools: Sequence[Mapping[str, Any]], *, many: bool, after_text: bool = False
    ) -> Constraint:
        """Return a constraint to calls as Qwen2.5 writes them, arguments as the tools' schemas say.

        Keywords that are not supported are errors in a tool with `strict`, else they are ignored.

        Args:
            tools: in OpenAI's form, `{"type": "function", "function": {"name": …, …}}`.
            many: whether more than one call may come, at most `MOST_CALLS`: a weak model that is
                made to call goes on calling.
            after_text: whether any text may come first, and no call at all.

        Raises:
            UserError: if there is no tool, or a tool's schema cannot be followed.
        """
        if not tools:
            raise UserError("a reply that must call a tool needs at least one tool")
        begin, end = self._literal(CALL_BEGIN), self._literal(CALL_END)
        rules = [
            f"call: {begin} {_quoted(chr(10))} one {_quoted(chr(10))} {end}",
            "one: " + " | ".join(f"tool_{i}" for i in range(len(tools))),
        ]
        calls = f"call ({_quoted(chr(10))} call){{0,{MOST_CALLS - 1}}}" if many else "call"
        if not after_text:
            rules.insert(0, f"start: {calls}")
        elif CALL_BEGIN in self._controls:
            rules = [f"start: TEXT ({calls})?", r"TEXT: /(.|\n)*/", *rules]
        else:
            raise UserError(
                f"{CALL_BEGIN} is no control token of this model, so that calls after text cannot "
                "be told from text"
            )
        parts = []
        for i, tool in enumerate(tools):
            function = tool.get("function", tool)
            name = json.dumps(function["name"], ensure_ascii=False)
            schema = function.get("parameters") or NO_PARAMETERS
            opening = _quoted(f'{{"name": {name}, "arguments": ')
            rules.append(f"tool_{i}: {opening} @schema_{i} {_quoted('}')}")
            schema = _spaced(schema, is_lenient=not function.get("strict"))
            self._check(schema, f"tool {function['name']}")
            parts.append({"name": f"schema_{i}", "json_schema": schema})
        grammar = {"grammars": [{"name": "calls", "lark_grammar": "\n".join(rules)}, *parts]}
        return self._start(json.dumps(grammar), "the tools")

    def _literal(self, name: str) -> str:
        """Return a grammar's word for a control token, or for plain text where there is none."""
        number = self._controls.get(name)
        return _quoted(name) if number is None else f"<[{number}]>"

    def _check(self, schema: dict[str, Any], what: str) -> None:
        """Raise the error of one schema, by the name of what it belongs to."""
        self._start(self._from_schema(schema, what), what)

    def _from_schema(self, schema: dict[str, Any], what: str) -> str:
        """Return a schema as a grammar; half a surrogate pair in it can't be written as UTF-8."""
        try:
            grammar: str = self._matcher.grammar_from_json_schema(schema)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{what} cannot be followed: {_explain(str(error))}") from None
        return grammar

    def _start(self, grammar: str, what: str) -> Constraint:
        matcher = self._matcher(self._tokens, grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise UserError(f"{what} cannot be followed: {_explain(matcher.get_error())}")
        return _Matching(matcher)


class _Matching:
    """A grammar at one place of one reply."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    @property
    def is_finished(self) -> bool:
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    @property
    def error(self) -> str | None:
        return _explain(self._matcher.get_error()) if self._matcher.is_error() else None

    def mask(self, logits_V: Tensor) -> None:
        if not self._matcher.is_error():
            packed = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        if self._matcher.is_error():  # a grammar may prove too hard only here
            logits_V.fill_(-torch.inf)
            return
        allowed_V = np.unpackbits(packed, count=len(logits_V), bitorder="little")
        forbidden_V = torch.from_numpy(allowed_V == 0).to(logits_V.device)
        logits_V.masked_fill_(forbidden_V, -torch.inf)

    def accept(self, token: int) -> None:
        if not self._matcher.is_stopped():
            self._matcher.consume_token(token)


class _Tokens:
    """A vocabulary as llguidance reads it: bytes by id, which are control tokens, an encoder."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, stop_ids: Sequence[int]) -> None:
        self.tokens = [b""] * vocab_size  # what has no bytes is never allowed
        for text, number in tokenizer.ranks.items():
            self.tokens[number] = text
        for name, number in tokenizer.control_tokens.items():
            self.tokens[number] = name.encode()
        self.special_token_ids = list(tokenizer.control_tokens.values())
        self.stop_ids = list(stop_ids)
        if not self.stop_ids:  # an end is needed; one beyond all rows is never chosen
            self.stop_ids = [vocab_size]
            self.tokens.append(b"<end>")
            self.special_token_ids.append(vocab_size)
        self.eos_token_id, self.bos_token_id = self.stop_ids[0], None
        self._tokenizer = tokenizer

    def __call__(self, text: str | bytes) -> list[int]:
        return self._tokenizer.encode(
            text if isinstance(text, str) else text.decode(errors="replace")
        )


def _spaced(schema: Mapping[str, Any], *, is_lenient: bool = False) -> dict[str, Any]:
    """Return a schema with our settings in place of any that it brings along."""
    return {**schema, "x-guidance": SPACING | {"lenient": is_lenient}}


def _quoted(text: str) -> str:
    """Return a text as a literal of a grammar."""
    return json.dumps(text, ensure_ascii=False)


def _explain(message: str) -> str:
    """Return llguidance's message as one line for who wrote the schema."""
    line = " ".join(message.replace("<non-verbose/>", "").split())
    line = line.removeprefix("Parser Error: ")
    if line.startswith("Current row has"):
        return "too many ways to go on at one place; fewer properties or alternatives may do"
    if line.startswith("Unimplemented keys: "):
        names = line.removeprefix("Unimplemented keys: ").strip("[]").replace('"', "")
        return f"not supported: {names}; leave them out and check them in the reply"
    if line.startswith("oneOf constraints are not supported"):
        return "not supported: oneOf with alternatives that may both fit; anyOf is"
    return line[:1].lower() + line[1:300]
