"""Pages that save by themselves, in a real Chromium, with a server that dies and comes back."""

import contextlib
import json
import socket
import threading
import time

import pytest
import uvicorn
from page_folders import arena, audit, made, voting

from openqwen.eval.arena.votes import VOTES_NAME, open_votes
from openqwen.serve.app import build_app
from openqwen.serve.config import KeyConfig, ServeConfig
from openqwen.serve.models import Models

pytestmark = pytest.mark.slow


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def served(*folders, port, **settings):
    config = ServeConfig(pages=tuple(map(str, folders)), port=port, **settings)
    app = build_app(Models(), config)
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port}/pages"
    finally:
        server.force_exit = server.should_exit = True
        thread.join()


def opened(browser, address, **options):
    page = browser.new_page(**options)
    page.on("pageerror", lambda error: pytest.fail(str(error)))
    page.goto(address)
    return page


def wait_for(page, text):
    page.wait_for_function(
        "text => document.getElementById('saved').textContent.includes(text)", arg=text
    )


def name(page, who):
    page.fill("#name", who)
    page.press("#name", "Tab")


def read(path):
    return json.loads(path.read_text())


def test_votes_save_themselves_and_survive_the_server(browser, tmp_path):
    folder, port = voting(tmp_path / "votes"), free_port()
    saved = folder / "votes-Lin.json"
    with served(folder, port=port) as root:
        page = opened(browser, f"{root}/votes/vote.html")
        page.keyboard.press("1")
        wait_for(page, "write your name")
        assert not list(folder.glob("votes-*"))
        name(page, "Lin")
        wait_for(page, "saved 已保存 ")
        assert read(saved)["votes"] == {"00000": "left"}
    page.keyboard.press("2")
    wait_for(page, "the server does not answer")
    page.keyboard.press("3")
    with served(folder, port=port):
        wait_for(page, "saved 已保存 ")
        assert read(saved)["votes"] == {"00000": "left", "00001": "right", "00002": "tie"}
        again = opened(browser, f"{root}/votes/vote.html")  # no storage, as on another machine
        name(again, "Lin")
        wait_for(again, "3")
        assert again.inner_text("#tally") == "3 of 3 votes"
    with page.expect_download() as download:  # still there without the server
        page.click("#save")
    assert read(download.value.path())["votes"] == read(saved)["votes"]


def test_marks_left_unsaved_by_a_dead_server_are_saved_after_a_reload(browser, tmp_path):
    folder, port = voting(tmp_path / "votes"), free_port()
    with served(folder, port=port) as root:
        page = opened(browser, f"{root}/votes/vote.html")
        name(page, "Lin")
        page.keyboard.press("1")
        wait_for(page, "saved 已保存 ")
    page.keyboard.press("2")
    wait_for(page, "not saved")
    with served(folder, port=port):
        page.reload()
        wait_for(page, "saved 已保存 ")
        assert read(folder / "votes-Lin.json")["votes"] == {"00000": "left", "00001": "right"}


def test_two_tabs_of_one_person_lose_nothing_and_a_second_person_begins_anew(browser, tmp_path):
    folder = voting(tmp_path / "votes")
    with served(folder, port=free_port()) as root:
        one = opened(browser, f"{root}/votes/vote.html")
        two = opened(browser, f"{root}/votes/vote.html")
        name(one, "Lin")
        name(two, "Lin")
        one.keyboard.press("1")
        wait_for(one, "saved 已保存 ")
        two.keyboard.press("2")
        two.keyboard.press("2")
        wait_for(two, "saved 已保存 ")
        one.keyboard.press("k")
        one.keyboard.press("3")
        wait_for(one, "saved 已保存 ")
        deadline = time.monotonic() + 10
        expected = {"00000": "tie", "00001": "right"}
        while read(folder / "votes-Lin.json")["votes"] != expected:
            assert time.monotonic() < deadline, read(folder / "votes-Lin.json")
            time.sleep(0.1)
        name(one, "Wang")
        one.wait_for_function(
            "() => document.getElementById('tally').textContent.startsWith('0 of 3')"
        )
        assert read(folder / "votes-Lin.json")["votes"] == expected


def test_each_kind_of_page_saves_and_shows_what_was_saved(browser, tmp_path):
    ranked, (reviewed, _) = arena(tmp_path / "arena"), made(tmp_path / "made")
    documents = audit(tmp_path / "documents")
    with served(ranked, reviewed, documents, port=free_port()) as root:
        page = opened(browser, f"{root}/arena/vote.html")
        name(page, "Lin")
        page.keyboard.press("2")
        page.keyboard.press("1")
        wait_for(page, "saved 已保存 ")
        with open_votes(ranked / VOTES_NAME) as votes:
            assert [(v.annotator, v.ranks) for v in votes.all()] == [("Lin", [2, 1])]

        page = opened(browser, f"{root}/made/review.html")
        name(page, "Lin")
        page.click("article >> nth=0 >> [data-do=edit]")
        page.locator("article >> nth=0 >> textarea >> nth=1").fill("Said better.")
        page.keyboard.press("Escape")
        wait_for(page, "saved 已保存 ")
        (mark,) = read(reviewed / "review-marks-Lin.json")["marks"]
        assert mark["contents"] == ["Ask 0", "Said better."]
        again = opened(browser, f"{root}/made/review.html")
        name(again, "Lin")
        wait_for(again, "saved before")
        assert again.inner_text("article >> nth=0 >> .state") == "accepted, edited"
        assert again.inner_text("article >> nth=0 >> .content >> nth=1") == "Said better."

        page = opened(browser, f"{root}/documents/audit.html")
        name(page, "Lin")
        page.click("h1")  # the list beside the name would take the keys
        page.keyboard.press("j")
        page.keyboard.press("b")
        wait_for(page, "saved 已保存 ")
        page.select_option("#who", "model")  # another marker: begins anew
        page.wait_for_function(
            "() => document.getElementById('tally').textContent === 'no marks yet'"
        )
        assert [m["mark"] for m in read(documents / "audit-marks-Lin.json")["marks"]] == ["bad"]


def test_behind_a_key_a_page_saves_once_its_reader_has_logged_in(browser, tmp_path):
    folder = voting(tmp_path / "votes")
    keys = {"lin": KeyConfig(key="a-secret-of-tests")}
    with served(folder, port=free_port(), keys=keys) as root:
        page = opened(browser, f"{root}/votes/vote.html")
        page.fill("#key", "a-secret-of-tests")
        page.press("#key", "Enter")
        page.wait_for_url("**/pages/votes/vote.html")
        name(page, "Lin")
        page.keyboard.press("1")
        wait_for(page, "saved 已保存 ")
        assert read(folder / "votes-Lin.json")["votes"] == {"00000": "left"}
        page.context.clear_cookies()
        page.keyboard.press("2")
        wait_for(page, "not saved")
        assert read(folder / "votes-Lin.json")["votes"] == {"00000": "left"}
