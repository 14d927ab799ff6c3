import json

import pytest

from openqwen.agent.instruct.review import MARKS_KIND, apply_marks, write_review
from openqwen.agent.instruct.sample import Sample

pytestmark = pytest.mark.slow


def made(number, kind="general", language="en"):
    asked = f"<b>Ask {number}</b><script>fail()</script>"
    messages = [
        {"role": "user", "content": asked},
        {"role": "assistant", "content": f"Say {number}.\n<img src=x onerror=fail()>"},
    ]
    return Sample(f"r1-{kind}-{language}-{number}", kind, language, asked, messages, {"round": 1})


def opened(browser, path, **options):
    page = browser.new_page(**options)
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto(path.as_uri())
    return page, asked, errors


def test_samples_are_accepted_rejected_and_mended_by_keys_and_saved(browser, tmp_path):
    samples = [made(0), made(1, "tools"), made(2), made(3, language="zh")]
    write_review(tmp_path / "review.html", samples, {"all": {"raw": 9, "kept": 4, "dropped": {}}})
    page, asked, errors = opened(browser, tmp_path / "review.html")
    page.keyboard.press("j")
    page.keyboard.press("a")  # goes on to the next by itself
    page.keyboard.press("r")
    page.keyboard.press("e")
    page.keyboard.press("Control+A")
    page.keyboard.type("Said a better way, r and a.")
    page.keyboard.press("Escape")
    tally = "2 accepted, 1 rejected, 1 to go"
    assert page.inner_text("#tally") == tally
    page.fill("#name", "Lin a")
    page.press("#name", "Tab")
    page.reload()
    assert page.inner_text("#tally") == tally
    assert page.inner_text("article >> nth=2 >> .state") == "accepted, edited"
    with page.expect_download() as download:
        page.click("#save")
    path = tmp_path / download.value.suggested_filename
    download.value.save_as(path)
    assert path.name == "review-marks.json"
    assert json.loads(path.read_text())["kind"] == MARKS_KIND
    accepted, account = apply_marks(samples, [path])
    assert account == {"accepted": 2, "mended": 1, "rejected": 1, "unmarked": 1}
    assert accepted[0].messages == samples[0].messages
    assert accepted[1].messages[1]["content"] == "Said a better way, r and a."
    assert accepted[1].messages[0] == samples[2].messages[0]
    assert accepted[1].provenance["review"]["by"] == [{"kind": "person", "name": "Lin a"}]
    assert all(url.startswith(("file:", "blob:")) for url in asked)
    assert errors == []


def test_samples_are_chosen_by_kind_language_and_mark(browser, tmp_path):
    samples = [made(0), made(1, "tools"), made(2), made(3, language="zh")]
    write_review(tmp_path / "review.html", samples, {})
    page, _, errors = opened(browser, tmp_path / "review.html")
    page.select_option("#kind", "tools")
    assert page.locator("article:visible").count() == 1
    page.click("article:visible >> button[data-do=reject]")
    page.select_option("#kind", "")
    page.select_option("#mark", "none")
    assert page.locator("article:visible").count() == 3
    page.select_option("#language", "zh")
    assert page.locator("article:visible").count() == 1
    page.select_option("#mark", "accept")
    assert page.is_visible("#empty")
    assert errors == []


def test_undo_takes_a_mark_and_a_mended_text_back(browser, tmp_path):
    samples = [made(0)]
    write_review(tmp_path / "review.html", samples, {})
    page, _, _ = opened(browser, tmp_path / "review.html")
    page.click("button[data-do=edit]")
    page.fill("textarea >> nth=1", "Other")
    page.click("button[data-do=edit]")
    assert page.inner_text(".state") == "accepted, edited"
    page.keyboard.press("Escape")
    page.click("article .facts")
    page.keyboard.press("u")
    assert page.inner_text("#tally") == "0 accepted, 0 rejected, 1 to go"
    assert page.text_content(".assistant .content") == samples[0].messages[1]["content"]


def test_the_review_page_fits_a_phone(browser, tmp_path):
    write_review(tmp_path / "review.html", [made("x" * 200)], {})
    page, _, _ = opened(browser, tmp_path / "review.html", viewport={"width": 400, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
