"""The chat page's parts without a browser: Markdown, conversations, tabs, the door to gradio."""

import contextlib
import json
import threading
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from small_servers import Lines
from starlette.testclient import TestClient
from tiny_exports import write_reciting

from openqwen.agent.tools import ToolError
from openqwen.core.errors import UserError
from openqwen.serve.app import build_app
from openqwen.serve.chat import sessions as sessions_module
from openqwen.serve.chat.live import split_live
from openqwen.serve.chat.markdown import fenced, harmless
from openqwen.serve.chat.sessions import IDLE_S, Sessions
from openqwen.serve.chat.show import place_in, show
from openqwen.serve.chat.talk import (
    MAX_IMAGE_CHARS,
    Choices,
    Message,
    Step,
    Talk,
    as_data_url,
    read_talk,
    write_talk,
)
from openqwen.serve.config import KeyConfig, ModelConfig, ServeConfig
from openqwen.serve.errors import ApiError
from openqwen.serve.logs import JsonLog
from openqwen.serve.models import open_models


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("![x](http://e/y)", "[x](http://e/y)"),
        ("!!![x](http://e/y)", "[x](http://e/y)"),
        ("<img src=http://e>", "&lt;img src=http://e>"),
        ("a < b and c <d", "a < b and c &lt;d"),
        ("`![x](y) <b>` ![x](y)", "`![x](y) <b>` [x](y)"),
        ("``a ` <b>`` <b>", "``a ` <b>`` &lt;b>"),
        ("` <b>\n\n`", "` &lt;b>\n\n`"),
        ("```html\n<b>\n```\n<b>", "```html\n<b>\n```\n&lt;b>"),
        ("~~~\n<b>\n```\n<b>\n~~~\n<i>", "~~~\n<b>\n```\n<b>\n~~~\n&lt;i>"),
        ("- ```\n  <b>\n  ```\n<i>", "- ```\n  <b>\n  ```\n&lt;i>"),
        ("```mermaid\ngraph\n```", "```text\ngraph\n```"),
        ("<https://e.org/x>", "[https://e.org/x](https://e.org/x)"),
        ("x = !\n[y](z)", "x = !\n[y](z)"),
    ],
)
def test_html_shows_as_text_and_images_become_links_outside_of_code(text, shown):
    assert harmless(text) == shown


@given(st.text(alphabet="`~<b>![x](y)\n -", max_size=60))
@example("!![")
def test_what_is_no_code_holds_neither_tags_nor_images(text):
    if "`" in text or "~~~" in text:
        text = text.replace("`", "'").replace("~", "-")
    shown = harmless(text)
    assert "![" not in shown
    assert "<b" not in shown


@given(st.text(alphabet="`a\n", max_size=30))
def test_nothing_in_a_fence_closes_it(text):
    lines = fenced(text).splitlines()
    assert all(not line.startswith(lines[0]) for line in lines[1:-1])
    assert lines[-1] == lines[0]


def test_a_conversation_comes_back_as_it_was_written():
    step = Step(name="plot", arguments="{}", output="drawn", images=(as_data_url(b"\x89PNG"),))
    talk = Talk(id="a", choices=Choices(seed=3)).asked("Hi").answered(
        Message(role="assistant", content="Hello", steps=(step,), ending="stop")
    )  # fmt: skip
    assert read_talk(write_talk(talk)) == talk
    assert talk.title == "Hi"


@pytest.mark.parametrize(
    "text",
    [
        "", "null", "[]", "{", '{"messages": 3}', '{"messages": [{"role": "system"}]}',
        '{"unknown": 1}',
        json.dumps({"messages": [{"role": "assistant", "steps": [
            {"name": "x", "images": ['x" onerror="alert(1)']}]}]}),
    ],
)  # fmt: skip
def test_what_is_no_conversation_is_an_empty_one(text):
    assert read_talk(text) == Talk()


def test_of_many_images_the_newest_are_kept():
    image = "data:image/png;base64," + "A" * (MAX_IMAGE_CHARS // 2 - 100)
    talk = Talk()
    for _ in range(3):
        steps = (Step(name="plot", output="", images=(image,)),)
        talk = talk.asked("more").answered(Message(role="assistant", steps=steps))
    kept = [step.images[0] for message in talk.messages for step in message.steps]
    assert kept == ["", image, image]
    assert "an older image" in str(show(talk))


def test_an_edit_forgets_what_followed_and_an_answer_is_made_again_from_its_question():
    talk = Talk().asked("one").answered(Message(role="assistant", content="1"))
    talk = talk.asked("two").answered(Message(role="assistant", content="2"))
    assert [m.content for m in talk.asked("uno", at=0).messages] == ["uno"]
    assert [m.content for m in talk.before_answer(3).messages] == ["one", "1", "two"]
    assert [m.content for m in talk.before_answer(2).messages] == ["one", "1", "two"]
    assert [m.content for m in talk.before_answer(1).messages] == ["one"]


def test_each_part_that_is_shown_knows_its_message():
    steps = (Step(name="plot", output="", images=(as_data_url(b"\x89PNG"),)),)
    answer = Message(role="assistant", content="2", steps=steps, new_tokens=3, ending="stop")
    talk = Talk().asked("one").answered(answer).asked("two")
    assert [place_in(talk, index) for index in range(len(show(talk)))] == [0, 1, 1, 1, 1, 2]


@pytest.mark.parametrize(
    ("text", "form", "parts"),
    [
        ("Thought: hm", "react", ("hm", "")),
        ("Thought: hm\nAction: plot\nAction Input: {", "react", ("hm", "")),
        ("Thought: hm\nFinal Answer: 3", "react", ("hm", "3")),
        ("It is 3", "tool_call", ("", "It is 3")),
        ('Let me. <tool_call>\n{"name"', "tool_call", ("Let me.", "")),
        ('{"name": "plot"', "tool_call", ("", "")),
    ],
)
def test_a_reply_in_the_middle_is_thought_or_answer(text, form, parts):
    assert split_live(text, form) == parts


def test_a_tab_has_one_answer_at_a_time_and_its_caller_no_more_than_allowed():
    sessions = Sessions()
    first, second = sessions.get("ada", "1"), sessions.get("ada", "2")
    with first.work(at_once=1):
        with pytest.raises(ApiError, match="under way"), first.work():
            pass
        with pytest.raises(ApiError, match="under way"), second.work(at_once=1):
            pass
        with sessions.get("bob", "1").work(at_once=1):
            pass
    with second.work(at_once=1):
        pass


def test_stop_calls_what_waits_for_it_and_reaches_its_own_tab_only():
    sessions, called = Sessions(), []
    with sessions.get("ada", "1").work():
        sessions.get("ada", "1").on_stop(lambda: called.append("ada"))
        sessions.get("bob", "1").stop()
        assert called == []
        sessions.close("ada", "1")
        assert called == ["ada"]


@pytest.mark.slow
def test_a_python_session_is_its_tabs_own_bounded_and_ends_with_it(monkeypatch):
    monkeypatch.setattr(sessions_module, "MAX_CLIENT_INTERPRETERS", 1)
    sessions = Sessions()
    tab = sessions.get("ada", "1")
    with tab.interpreter() as python:
        assert python.run("x = 20").status == "ok"
    with tab.interpreter() as python:
        assert python.run("x + 1").value == "21"
    with pytest.raises(ToolError, match="no further"), sessions.get("ada", "2").interpreter():
        pass
    sessions.sweep(time.monotonic() + IDLE_S / 2)
    assert tab.has_interpreter
    sessions.sweep(time.monotonic() + IDLE_S + 1)
    _wait_for_ends()
    assert not tab.has_interpreter
    with pytest.raises(UserError, match="not open"):
        python.run("x")


@pytest.mark.slow
def test_a_tab_that_is_closed_ends_a_program_that_runs():
    sessions, results = Sessions(), []
    tab = sessions.get("ada", "1")

    def work():
        with tab.interpreter() as python:
            results.append(python.run("import time; print('on'); time.sleep(25)"))

    thread = threading.Thread(target=work)
    thread.start()
    while not tab.has_interpreter:
        time.sleep(0.05)
    time.sleep(1)
    sessions.close("ada", "1")
    thread.join(20)
    _wait_for_ends()
    assert results[0].status == "died"
    assert not tab.has_interpreter


def _wait_for_ends():
    for thread in threading.enumerate():
        if thread.name == "end of a tab":
            thread.join(20)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write_reciting(tmp_path_factory.mktemp("m") / "m", "Hi")


@contextlib.contextmanager
def opened(export, config=None):
    """A client of the whole application, the chat page included."""
    config, log = config or ServeConfig(), JsonLog(Lines())
    models = open_models([ModelConfig(path=str(export))], config, report=log.failure)
    try:
        app = build_app(models, config, log=log)
        with TestClient(app, base_url="http://127.0.0.1") as client:
            yield client
    finally:
        models.close()


def test_what_the_page_does_not_need_of_gradio_is_not_there(export):
    asked = [
        ("POST", "/chat/gradio_api/upload"),
        ("GET", "/chat/gradio_api/file=/etc/passwd"),
        ("GET", "/chat/gradio_api/proxy=http://127.0.0.1/"),
        ("POST", "/chat/login"),
        ("GET", "/chat/gradio_api/openapi.json"),
        ("POST", "/chat/gradio_api/call/send"),
        ("GET", "/chat/monitoring"),
        ("POST", "/chat/gradio_api/vibe-edit"),
    ]
    with opened(export) as client:
        assert client.get("/chat/config").status_code == 200
        found = {path: client.request(method, path).text for method, path in asked}
    assert set(found.values()) == {"not found"}


def test_the_page_lets_a_browser_ask_nobody_else(export):
    with opened(export) as client:
        answer = client.get("/chat/")
        assert answer.status_code == 200
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "http" not in policy
        assert "window.openqwen" in answer.text.split("</head>")[0]


def test_gradios_routes_need_the_key_and_count_in_its_limit(export):
    keys = {"ada": KeyConfig(key="secret", requests_per_minute=2)}
    config = ServeConfig(keys=keys)
    join = "/chat/gradio_api/queue/join"
    with opened(export, config) as client:
        assert client.post(join, json={}).status_code == 401
        assert client.get("/chat/config").status_code == 401
        own = {"authorization": "Bearer secret"}
        statuses = [client.post(join, json={}, headers=own).status_code for _ in range(3)]
        assert statuses[-1] == 429
        assert 429 not in statuses[:2]
