"""The chat page's layout: gradio's components and which event calls what.

blocks = build_view(app.state, Sessions())
"""

from typing import Any

import gradio as gr
from starlette.datastructures import State

from openqwen.serve.chat.handlers import Handlers
from openqwen.serve.chat.labels import label
from openqwen.serve.chat.parts import CHOICES, Parts
from openqwen.serve.chat.sessions import Sessions
from openqwen.serve.chat.talk import Choices

FORMULAS: list[dict[str, str | bool]] = [
    {"left": "$$", "right": "$$", "display": True},
    {"left": "\\[", "right": "\\]", "display": True},
    {"left": "\\(", "right": "\\)", "display": False},
    {"left": "$", "right": "$", "display": False},
]
SIDE = '<nav id="oq-side" aria-label="openqwen"></nav>'
TOP = '<header id="oq-top"></header>'
WELCOME = '<div id="oq-welcome"></div>'


def build_view(state: State, sessions: Sessions) -> gr.Blocks:
    """Return the page; `state` is the server's, read when something happens."""
    with gr.Blocks(
        title="openqwen", analytics_enabled=False, fill_height=True, fill_width=True
    ) as blocks:
        with gr.Sidebar(width=300, elem_id="oq-sidebar"):
            gr.HTML(SIDE, padding=False)
            choices = _choices(state)
        gr.HTML(TOP, padding=False)
        chatbot = gr.Chatbot(
            elem_id="oq-chat", label=label("answering"), show_label=False, container=False,
            editable="user", latex_delimiters=FORMULAS, buttons=["copy"], sanitize_html=True,
            allow_tags=False, layout="bubble", scale=1, height=None, placeholder=WELCOME,
            group_consecutive_messages=True, feedback_options=None,
        )  # fmt: skip
        with gr.Row(elem_id="oq-ask", equal_height=False):
            box = gr.Textbox(
                elem_id="oq-box", label=label("message"), show_label=False, container=False,
                placeholder=label("ask"), lines=1, max_lines=8, scale=1, interactive=False,
                html_attributes=gr.InputHTMLAttributes(autocomplete="off"),
            )  # fmt: skip
            send = gr.Button(label("send"), elem_id="oq-send", variant="primary", scale=0)
            stop = gr.Button(
                label("stop"), elem_id="oq-stop", variant="stop", scale=0, visible=False
            )
        talk = gr.Textbox(elem_id="oq-talk", visible="hidden", lines=1)
        opener = gr.Button("open", elem_id="oq-open", visible="hidden")
        parts = Parts(chatbot, talk, box, send, stop, choices)
        _bind(blocks, Handlers(state, sessions, parts), parts, opener)
    queued: gr.Blocks = blocks.queue(default_concurrency_limit=None, api_open=False)
    return queued


def _choices(state: State) -> dict[str, Any]:
    """Return what can be set, by name."""
    names = [model.name for model in state.models.list()]
    tools = list(state.config.tools)
    default = Choices()
    with gr.Accordion(label("settings"), open=False, elem_id="oq-settings"):
        return {
            "model": gr.Dropdown(names, value=names[0] if names else None, label=label("model"),
                                 visible=len(names) > 1, filterable=False, elem_id="oq-model"),
            "tools": gr.CheckboxGroup(tools, value=[], label=label("tools"),
                                      info=label("tools_info"), visible=bool(tools),
                                      elem_id="oq-tools"),
            "system": gr.Textbox(label=label("system"), lines=2, max_lines=8,
                                 placeholder=label("system_hint"), elem_id="oq-system"),
            "temperature": gr.Slider(0, 2, default.temperature, step=0.05,
                                     label=label("temperature"), info=label("temperature_info"),
                                     elem_id="oq-temperature"),
            "top_p": gr.Slider(0.05, 1, default.top_p, step=0.05, label=label("top_p")),
            "top_k": gr.Slider(0, 200, default.top_k, step=1, label=label("top_k"),
                               info=label("top_k_info")),
            "max_tokens": gr.Number(default.max_tokens, label=label("max_tokens"), minimum=1,
                                    precision=0, elem_id="oq-max-tokens"),
            "seed": gr.Number(None, label=label("seed"), info=label("seed_info"), minimum=0,
                              precision=0, elem_id="oq-seed"),
            "repetition_penalty": gr.Slider(0.8, 2, default.repetition_penalty, step=0.01,
                                            label=label("repetition")),
        }  # fmt: skip


def _bind(blocks: gr.Blocks, handlers: Handlers, parts: Parts, opener: gr.Button) -> None:
    """Connect the page's events."""
    given = {parts.box, parts.talk, *parts.choices.values()}
    shown = [parts.chatbot, parts.talk, parts.box, parts.send, parts.stop]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    gr.on([parts.box.submit, parts.send.click], handlers.send, given, shown, **quiet)
    parts.chatbot.retry(handlers.retry, given, shown, **quiet)
    parts.chatbot.edit(handlers.edit, given, shown, **quiet)
    parts.stop.click(handlers.stop, None, None, queue=False, **quiet)
    everything = [*shown, *parts.choices.values()]
    picked = "() => window.openqwen.picked()"
    opener.click(handlers.open, [parts.talk, parts.box], everything, js=picked, **quiet)
    blocks.load(handlers.open, [parts.talk, parts.box], everything, js=picked, **quiet)
    choices = [parts.choices[name] for name in CHOICES]
    keep = "(...values) => { window.openqwen.keepChoices(values) }"
    gr.on([part.change for part in choices], None, choices, None, js=keep, **quiet)
