"""The chat page in headless Chromium, on servers that are processes with small real models."""

import contextlib
import http.client
import json

import pytest
from chat_browser import ANSWER, ChatPage, ChatServer, message, write_models

ENDLESS = {"model": "endless", "max_tokens": 7000}
PHONE = {"width": 390, "height": 800}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def server(models):
    with ChatServer("--config", models) as process:
        yield process
        assert "Traceback" not in "\n".join(process.lines)


def test_the_first_answer_streams_is_counted_and_outlives_a_reload(browser, server):
    with ChatPage(browser, server) as chat:
        assert "What shall we do?" in chat.text()
        chat.ask("Hello <b>there</b>")
        chat.wait_answered()
        assert ANSWER in chat.text()
        assert "Hello <b>there</b>" in chat.text()
        answer = chat.talk()["messages"][1]
        assert answer["new_tokens"] == len(ANSWER) + 1
        assert f"{answer['prompt_tokens']} prompt · {answer['new_tokens']} new" in chat.text()
        assert "tokens/s" in chat.text()
        assert chat.page.inner_text("#oq-side .oq-current .oq-name") == "Hello <b>there</b>"
        chat.page.reload()
        chat.wait_ready()
        chat.page.wait_for_selector(f"#oq-chat >> text={ANSWER}")
        assert "Hello <b>there</b>" in chat.text()


def test_stop_in_the_middle_leaves_the_engine_idle_and_the_beginning_on_the_page(browser, server):
    with ChatPage(browser, server, choices=ENDLESS) as chat:
        chat.ask("Count")
        chat.page.wait_for_selector("#oq-chat >> text=abababab")
        assert server.metric("openqwen_running") == 1
        chat.page.press("#oq-box textarea", "Escape")
        chat.wait_answered()
        server.wait_for(server.is_idle)
        answer = chat.talk()["messages"][1]
        assert answer["ending"] == "stopped"
        assert 0 < answer["new_tokens"] < 7000
        assert "stopped" in chat.text()
        assert answer["content"].startswith("abab")


@pytest.mark.slow
def test_a_closed_tab_ends_its_answer(browser, server):
    with ChatPage(browser, server, choices=ENDLESS) as chat:
        chat.ask("Count")
        chat.page.wait_for_selector("#oq-chat >> text=abababab")
        chat.page.close()
        server.wait_for(server.is_idle)


@pytest.mark.slow
def test_an_earlier_question_is_edited_and_an_answer_made_again(browser, server):
    talk = {"id": "edited1", "title": "Old", "messages": [
        message("user", "first"), message("assistant", "one", ending="stop"),
        message("user", "second"), message("assistant", "two", ending="stop"),
    ]}  # fmt: skip
    with ChatPage(browser, server, talks=[talk]) as chat:
        chat.page.click("#oq-chat button[title=Edit i] >> nth=0")
        chat.page.fill("#oq-chat .message textarea", "first, but better")
        chat.page.click("#oq-chat button[title=Submit i]")
        chat.wait_kept("first, but better")
        chat.wait_answered()
        contents = [each["content"] for each in chat.talk()["messages"]]
        assert contents == ["first, but better", ANSWER]
        before = chat.talk()["messages"][1]
        chat.page.click("#oq-chat button[title=Retry i]")
        chat.page.wait_for_function(
            f"() => !(localStorage.getItem('openqwen.chat.talk.edited1') || '')"
            f".includes('{before['seconds']}')"
        )
        chat.wait_answered()
        contents = [each["content"] for each in chat.talk()["messages"]]
        assert contents == ["first, but better", ANSWER]


@pytest.mark.slow
def test_a_killed_server_is_told_in_plain_words_and_nothing_is_lost(browser, models):
    server = ChatServer("--config", models)
    with server, ChatPage(browser, server, choices=ENDLESS) as chat:
        chat.ask("Count")
        chat.page.wait_for_selector("#oq-chat >> text=abababab")
        server.kill()
        chat.page.wait_for_selector("#oq-banner >> text=can't be reached")
        chat.page.fill("#oq-box textarea", "typed meanwhile")
        chat.page.press("#oq-box textarea", "Enter")
        chat.page.wait_for_timeout(500)
        assert chat.page.input_value("#oq-box textarea") == "typed meanwhile"
        assert "abab" in chat.text()
        assert chat.talk()["messages"][0]["content"] == "Count"
        with ChatServer("--config", models, port=server.port):
            chat.page.wait_for_selector("#oq-banner >> text=The server is back")
            chat.page.wait_for_selector("#oq-chat >> text=Count")
            chat.wait_ready()
            assert chat.page.input_value("#oq-box textarea") == "typed meanwhile"
            chat.page.press("#oq-box textarea", "Enter")
            chat.page.wait_for_selector("#oq-chat >> text=typed meanwhile")
            chat.page.wait_for_selector("#oq-chat >> text=abababab")
            chat.page.press("#oq-box textarea", "Escape")
            chat.wait_answered()
            assert chat.talk()["messages"][-2]["content"] == "typed meanwhile"
            assert chat.talk()["messages"][-1]["ending"] == "stopped"


@pytest.mark.slow
def test_what_the_server_refuses_is_told_and_can_be_sent_again(browser, server):
    with ChatPage(browser, server, choices={"max_tokens": 10}) as chat:
        chat.ask("word " * 2000)
        chat.wait_answered()
        assert "too long for the model" in chat.text()
        assert chat.talk()["messages"][1]["error"].startswith("too_long:")
        chat.page.click("#oq-new")
        chat.ask("short")
        chat.wait_answered()
        assert ANSWER in chat.text()


@pytest.mark.slow
def test_a_clients_own_limit_is_told_and_what_was_typed_stays(browser, models, tmp_path):
    limited = tmp_path / "limited.toml"
    limited.write_text(models.read_text().replace("[server]", "[server]\nrequests_per_minute = 2"))
    with ChatServer("--config", limited) as server, ChatPage(browser, server) as chat:
        chat.ask("the second request, after the page's own")
        chat.wait_answered()
        chat.ask("the third")
        chat.page.wait_for_selector("#oq-banner >> text=Too many requests")
        chat.page.wait_for_function("document.querySelector('#oq-box textarea').value")
        assert chat.page.input_value("#oq-box textarea") == "the third"
        assert len(chat.talk()["messages"]) == 2


@pytest.mark.slow
def test_a_full_queue_is_told_in_the_answers_place_and_it_can_be_made_later(
    browser, models, tmp_path
):
    narrow = tmp_path / "narrow.toml"
    text = models.read_text().replace("[server]", "[server]\nmax_waiting = 1")
    narrow.write_text(text.replace("[[model]]", "[[model]]\nmax_num_seqs = 1"))
    body = {"model": "endless", "messages": [{"role": "user", "content": "x"}]}
    with (
        ChatServer("--config", narrow) as server,
        ChatPage(browser, server, choices=ENDLESS) as first,
        ChatPage(browser, server, choices={**ENDLESS, "max_tokens": 30}) as second,
        contextlib.ExitStack() as stack,
    ):
        for running, waiting in ((1, 0), (1, 1)):  # from one address: no tab's place
            call = http.client.HTTPConnection("127.0.0.1", server.port)
            call.request("POST", "/v1/chat/completions", json.dumps(body),
                         {"content-type": "application/json"})  # fmt: skip
            stack.callback(call.close)
            server.wait_for(lambda now=(running, waiting): server.work() == now)
        first.ask("waits for its turn")
        server.wait_for(lambda: server.work() == (1, 2))
        second.ask("finds no place")
        second.wait_answered()
        assert "too much to do" in second.text()
        assert second.talk()["messages"][1]["error"].startswith("busy:")
        stack.close()
        first.page.press("#oq-box textarea", "Escape")
        server.wait_for(server.is_idle)
        second.page.click("#oq-chat button[title=Retry i]")
        second.wait_kept('"ending":"length"')
        assert second.talk()["messages"][1]["content"].startswith("abab")


@pytest.mark.slow
def test_a_tool_call_is_shown_with_its_arguments_output_and_plot(browser, models, tmp_path):
    plot = {"kind": "line", "x": [1, 2, 3], "y": [1, 4, 9], "title": "Squares"}
    replies = [
        "Thought: I draw it.\nAction: plot\nAction Input: " + json.dumps(plot),
        "Thought: Now the sum.\nAction: code_interpreter\nAction Input:\n"
        "```py\nprint(1 + 4 + 9)\n```",
        "Thought: I know.\nFinal Answer: The sum is **14**.",
    ]
    script = tmp_path / "script.json"
    script.write_text(json.dumps(replies))
    choices = {"tools": ["plot", "python"], "model": "m"}
    with (
        ChatServer("--config", models, script=script) as server,
        ChatPage(browser, server, choices=choices) as chat,
    ):
        chat.ask("Plot the squares of 1, 2, 3 and add them")
        chat.page.wait_for_selector("#oq-chat img.oq-plot")
        chat.wait_answered()
        plot_step, sum_step = chat.talk()["messages"][1]["steps"]
        assert json.loads(plot_step["arguments"])["y"] == [1, 4, 9]
        assert "\n14\n" in sum_step["output"]
        assert sum_step["thought"] == "Now the sum."
        size = chat.page.eval_on_selector(
            "#oq-chat img.oq-plot", "async (i) => { await i.decode(); return i.naturalWidth }"
        )
        assert size == 720
        assert "The sum is 14." in chat.text()
        assert "print(1 + 4 + 9)" not in chat.text()
        chat.page.click("#oq-chat >> text=code_interpreter")
        chat.page.wait_for_selector("#oq-chat >> text=print(1 + 4 + 9)")
        chat.page.reload()
        chat.page.wait_for_selector("#oq-chat img.oq-plot")


@pytest.mark.slow
def test_nothing_a_model_says_runs_or_is_fetched(browser, server):
    evil = (
        "![x](http://evil.test/a.png) <img src=http://evil.test/b.png onerror=window.bad=1>"
        "<script>window.bad=1</script><iframe src=http://evil.test/c></iframe>"
        "<style>@import 'http://evil.test/d'</style> [l](javascript:window.bad=1)\n\n"
        '![r][1] <svg onload="window.bad=1"></svg>\n\n[1]: http://evil.test/e.png\n\n'
        "``` \n![in code](x) <b>\n```\n\n`<i>` and $x<y$ \n\n"
        "```html\n<img src=http://evil.test/f.png>\n```\n"
        "> ![q](http://evil.test/g.png)\n\n- ![l](http://evil.test/h.png)\n"
    )
    steps = [{"name": "<img src=http://evil.test/t>", "arguments": "```\n<img src=http://evil.test/u>",
              "output": "</code></pre><img src=http://evil.test/v>"}]  # fmt: skip
    talk = {"id": "evil01", "title": "<img src=http://evil.test/w>", "messages": [
        message("user", evil),
        message("assistant", evil, ending="error", error="failed:<img src=http://evil.test/x>",
                steps=steps),
    ]}  # fmt: skip
    with ChatPage(browser, server, talks=[talk]) as chat:
        chat.page.wait_for_selector("#oq-chat .oq-error")
        chat.page.wait_for_timeout(500)
        assert chat.page.evaluate("window.bad") is None
        images = "[...document.querySelectorAll('#oq-chat img')].map((i) => i.outerHTML)"
        assert chat.page.evaluate(images) == []
        assert chat.page.locator("#oq-chat iframe, #oq-chat script").count() == 0
        assert chat.page.locator("#oq-chat a[href^=javascript]").count() == 0
        assert "![in code](x) <b>" in chat.text()
        assert "<script>window.bad=1</script>" in chat.text()


@pytest.mark.slow
def test_formulas_and_code_are_set_without_help_from_outside(browser, server):
    text = (
        "$$\\int_0^1 x^2 dx$$ and \\(a<b\\) and $c_1$ and \\[e^{i\\pi}\\]\n\n"
        "```python\ndef f(x): pass\n```"
    )
    talk = {"id": "maths1", "title": "Maths", "messages": [
        message("user", "?"), message("assistant", text, ending="stop")]}  # fmt: skip
    with ChatPage(browser, server, talks=[talk]) as chat:
        chat.page.wait_for_selector("#oq-chat .katex >> nth=0")
        assert chat.page.locator("#oq-chat .katex").count() == 4
        assert chat.page.locator("#oq-chat .katex-error").count() == 0
        assert chat.page.locator("#oq-chat pre .token.keyword").count() >= 1


@pytest.mark.slow
def test_several_conversations_are_kept_renamed_deleted_and_carried_as_json(browser, server):
    with ChatPage(browser, server) as chat:
        for text in ("apples", "pears"):
            chat.page.click("#oq-new")
            chat.ask(text)
            chat.wait_answered()
        names = "#oq-side .oq-name"
        assert chat.page.locator(names).all_inner_texts() == ["pears", "apples"]
        chat.page.click(f"{names} >> text=apples")
        chat.page.wait_for_function(
            "document.querySelector('#oq-chat').innerText.includes('apples')"
        )
        assert "pears" not in chat.text()
        chat.page.once("dialog", lambda dialog: dialog.accept("fruit"))
        chat.page.click("button[title='Rename: apples']")
        assert chat.page.locator(names).all_inner_texts() == ["pears", "fruit"]
        with chat.page.expect_download() as download:
            chat.page.click("#oq-export")
        path = download.value.path()
        chat.page.once("dialog", lambda dialog: dialog.accept())
        chat.page.click("button[title='Delete: pears']")
        assert chat.page.locator(names).all_inner_texts() == ["fruit"]
        with chat.page.expect_file_chooser() as chooser:
            chat.page.click("#oq-import")
        chooser.value.set_files(path)
        chat.page.wait_for_selector(f"{names} >> text=pears")
        assert chat.page.locator(names).all_inner_texts() == ["pears", "fruit"]
        assert chat.talk()["messages"][1]["content"] == ANSWER


@pytest.mark.slow
def test_the_page_fits_a_phone(browser, server):
    long = (
        "x" * 300
        + "\n\n```\n"
        + "y" * 300
        + "\n```\n\n| a | b |\n|---|---|\n| "
        + "z" * 300
        + " | 1 |"
    )
    talk = {"id": "phone1", "title": "t" * 100, "messages": [
        message("user", long), message("assistant", long, ending="stop")]}  # fmt: skip
    with ChatPage(browser, server, talks=[talk], viewport=PHONE, has_touch=True) as chat:
        chat.page.wait_for_selector("#oq-chat >> text=xxxx >> nth=0")
        chat.ask("Hello")
        chat.wait_answered()
        wide = """() => [...document.querySelectorAll('body *')].filter((e) => {
            const r = e.getBoundingClientRect(), scrolls = e.closest('pre, table, .katex-display');
            return r.width && !scrolls && (r.right > 391 || r.left < -1) && e.checkVisibility() &&
                !e.closest('#oq-sidebar') }).map((e) => e.tagName + '.' + e.className)"""
        assert chat.page.evaluate(wide) == []
        assert chat.page.evaluate("document.documentElement.scrollWidth") <= 390
        chat.page.click("#oq-sidebar .toggle-button")
        chat.page.click("#oq-new")
        chat.page.wait_for_function("!document.querySelector('#oq-sidebar').matches('.open')")


@pytest.mark.slow
def test_the_keyboard_alone_is_enough(browser, server):
    with ChatPage(browser, server, choices=ENDLESS) as chat:
        keys = chat.page.keyboard
        chat.page.wait_for_function("document.activeElement.matches('#oq-box textarea')")
        keys.type("line one")
        keys.press("Shift+Enter")
        keys.type("line two")
        keys.press("Enter")
        chat.page.wait_for_selector("#oq-chat >> text=abababab")
        keys.press("Escape")
        chat.wait_answered()
        assert chat.talk()["messages"][0]["content"] == "line one\nline two"
        seen = set()
        for _ in range(40):
            keys.press("Tab")
            seen.add(
                chat.page.evaluate(
                    "(() => { const e = document.activeElement; return e.id || e.title || "
                    "e.getAttribute('aria-label') || e.className })()"
                )
            )
            outline = chat.page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            is_box = chat.page.evaluate("document.activeElement.matches('#oq-box textarea, body')")
            assert outline != "none" or is_box
        assert {"oq-new", "oq-export", "oq-theme", "oq-language", "oq-send"} <= seen
        assert {"Edit", "Retry"} <= {name.title() for name in seen}


@pytest.mark.slow
def test_labels_follow_the_browser_and_the_switch(browser, server):
    with ChatPage(browser, server, locale="zh-CN") as chat:
        assert "想聊点什么？" in chat.text()
        assert chat.page.inner_text("#oq-send") == "发送"
        chat.page.click("#oq-settings > button")
        side = chat.page.inner_text("#oq-sidebar")
        for name in (
            "温度",
            "系统提示词",
            "工具",
            "模型",
            "随机种子",
            "重复惩罚",
            "新对话",
            "导入",
        ):
            assert name in side
        assert not set("abcdefghijklmnoqrsuvwxz") & set(
            side.replace("calculator", "").replace("plot", "").replace("python", "")
            .replace("Top-p", "").replace("Top-k", "").replace("m\n", "").lower()
        )  # fmt: skip
        chat.ask("你好")
        chat.wait_answered()
        assert "新词元" in chat.text()
        assert "tokens/s" not in chat.text()
        chat.page.click("#oq-language")
        chat.page.wait_for_selector("#oq-send >> text=Send")
        chat.wait_ready()
        chat.page.wait_for_selector("#oq-chat >> text=tokens/s")


@pytest.mark.slow
def test_dark_follows_the_system_and_the_switch(browser, server):
    with ChatPage(browser, server, color_scheme="dark") as chat:
        is_dark = "document.body.classList.contains('dark')"
        assert chat.page.evaluate(is_dark)
        chat.page.click("#oq-theme")
        assert not chat.page.evaluate(is_dark)
        chat.page.reload()
        chat.wait_ready()
        assert not chat.page.evaluate(is_dark)


@pytest.mark.slow
def test_with_a_key_the_page_asks_for_it_first(browser, models):
    with ChatServer("--config", models, "--api-key", "ada=secret-1") as server:
        page = browser.new_page()
        page.goto(f"{server.url}/chat/")
        assert "/login" in page.url
        page.fill("#key", "secret-1")
        page.press("#key", "Enter")
        page.wait_for_selector("#oq-box textarea:enabled")
        page.fill("#oq-box textarea", "Hello")
        page.press("#oq-box textarea", "Enter")
        page.wait_for_selector(f"#oq-chat >> text={ANSWER}")
        page.close()
