"""The page to vote on, in a real browser: ranks by click and key, kept over a reload, saved."""

import json

import pytest

from openqwen.eval.arena.ballots import PAGE_NAME, Prompt, make_ballots, write_ballots
from openqwen.eval.arena.votes import read_page_votes

pytestmark = pytest.mark.slow


def test_ranks_are_set_by_keys_and_clicks_kept_over_a_reload_and_saved(browser, tmp_path):
    prompts = [
        Prompt(f"p{i}", "", [{"role": "user", "content": f"<b>{i}</b><script>fail()</script>"}])
        for i in range(3)
    ]
    answers = {name: [f"{name} {i} 你好" for i in range(3)] for name in ("a", "b", "c")}
    ballots = make_ballots(prompts, answers, seed=0)
    write_ballots(tmp_path, ballots)
    page = browser.new_page(viewport={"width": 1200, "height": 700})
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((tmp_path / PAGE_NAME).as_uri())
    assert page.inner_text("section:not([hidden]) .prompt").endswith("<script>fail()</script>")
    page.fill("#name", "Lin 3")  # digits in the name rank nothing
    page.press("#name", "Tab")
    for key in "213j":
        page.keyboard.press(key)
    for place, rank in ((0, 1), (1, 1), (2, 2)):
        page.click(f'section:not([hidden]) [data-place="{place}"] [data-rank="{rank}"]')
    assert page.inner_text("#tally") == "2 of 3 ranked"
    page.reload()
    assert page.inner_text("#tally") == "2 of 3 ranked"
    page.keyboard.press("1")  # the third is begun, not finished: not saved
    with page.expect_download() as download:
        page.click("#save")
    saved = download.value.path()
    assert json.loads(saved.read_text())["annotator"] == "Lin 3"
    votes = read_page_votes(saved, ballots)
    assert [(vote.ballot, vote.ranks) for vote in votes] == [
        ("00000", [2, 1, 3]),
        ("00001", [1, 1, 2]),
    ]
    assert not errors
    assert all(url.startswith(("file:", "blob:")) for url in asked)
