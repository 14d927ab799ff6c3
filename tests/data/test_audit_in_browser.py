import json

import pytest
from documents_for_tests import document

from openqwen.data.audit.funnel import Funnel
from openqwen.data.audit.pages import MARKS_KIND, write_audit
from openqwen.data.config import AuditConfig
from openqwen.data.steps import Rejected

pytestmark = pytest.mark.slow


def test_marks_are_set_by_keys_kept_over_a_reload_and_saved_as_json(browser, tmp_path):
    def odd_ones(documents):
        for number, found in enumerate(documents):
            yield Rejected(found, "odd", 1.0) if number % 2 else found

    funnel = Funnel(AuditConfig(), seed=0)
    documents = [document(f"<b>text {i}</b><script>fail()</script>", f"s/{i}") for i in range(6)]
    for kept in funnel.through("oddity", odd_ones, documents):
        funnel.samples.offer_kept(kept)
    write_audit(tmp_path / "audit.html", funnel)

    page = browser.new_page()
    asked, errors = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(error))
    page.goto((tmp_path / "audit.html").as_uri())
    for key in "jgjb":
        page.keyboard.press(key)
    assert page.inner_text("#tally") == "2 marked, 1 of them bad"
    page.fill("#name", "Lin g")
    page.press("#name", "Tab")
    page.reload()
    assert page.inner_text("#tally") == "2 marked, 1 of them bad"
    with page.expect_download() as download:
        page.click("#save")
    saved = json.loads(download.value.path().read_text())
    assert (saved["kind"], saved["judges"]) == (MARKS_KIND, "texts")
    assert saved["by"] == {"kind": "person", "name": "Lin g"}
    assert [(m["step"], m["reason"], m["mark"]) for m in saved["marks"]] == [
        ("oddity", "odd", "good"),
        ("oddity", "odd", "bad"),
    ]
    assert {m["id"] for m in saved["marks"]} < {"s/1", "s/3", "s/5"}
    assert all(url.startswith(("file:", "blob:")) for url in asked)
    assert errors == []


def test_a_document_in_two_sections_has_one_mark_with_its_band(browser, tmp_path):
    funnel = Funnel(AuditConfig(), seed=0)
    scored = [document(f"text {i}", f"s/{i}", scores={"quality": i / 10}) for i in range(4)]
    for kept in scored:
        funnel.samples.offer_kept(kept)
    write_audit(tmp_path / "audit.html", funnel)
    page = browser.new_page()
    page.goto((tmp_path / "audit.html").as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.click("details >> nth=0 >> article[data-id='s/2'] >> input[value=bad]")
    assert page.locator("article[data-id='s/2'] input[value=bad]:checked").count() == 2
    assert page.inner_text("#tally") == "1 marked, 1 of them bad"
    with page.expect_download() as download:
        page.click("#save")
    (mark,) = json.loads(download.value.path().read_text())["marks"]
    assert mark["band"] == {"score": "quality", "band": "0.2 – 0.3", "value": 0.2}


def test_the_page_fits_a_phone(browser, tmp_path):
    funnel = Funnel(AuditConfig(), seed=0)
    step = [Rejected(document("long" * 200, f"s/{'x' * 200}"), "odd" * 60, 1.0)]
    for _ in funnel.through("oddity", lambda documents: iter(step), [step[0].document]):
        pass
    write_audit(tmp_path / "audit.html", funnel)
    page = browser.new_page(viewport={"width": 400, "height": 800})
    page.goto((tmp_path / "audit.html").as_uri())
    page.keyboard.press("j")
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
