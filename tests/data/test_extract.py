import json
import time

import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_CODE, page

from openqwen.core.documents import Document
from openqwen.data.config import ExtractConfig
from openqwen.data.extraction.extract import extract
from openqwen.data.extraction.html import main_text
from openqwen.data.extraction.normalise import clean_text

CONFIG = ExtractConfig(num_workers=1)


def outcomes(*pages):
    return list(extract(CONFIG, pages))


def one_text(*args, **kwargs):
    (outcome,) = outcomes(page(*args, **kwargs))
    assert isinstance(outcome, Document), outcome
    return outcome.text


def one_reason(*args, **kwargs):
    (outcome,) = outcomes(page(*args, **kwargs))
    return outcome.reason


PROSE = "<p>The keeper watched the marked post for years and wrote down what he saw each day.</p>"


def test_navigation_goes_and_headings_lists_code_and_tables_stay():
    html = f"""<html><body>
    <div class="navheader"><table><tr><th>Tides</th><td><a href=a>Prev</a></td></tr></table></div>
    <nav><a href=x>Home</a></nav>
    <h1>Tides<a class="headerlink" href="#tides">¶</a></h1>{PROSE}
    <div class="toc"><ul><li><a href=#a>One</a></li><li><a href=#b>Two</a></li></ul></div>
    <ul><li><p>first</p></li><li><p>second</p><ul><li>inner</li></ul></li></ul>
    <pre>def f(x):
    return x  # kept    as it is</pre>
    <table><tr><th>Port</th><th>Height</th></tr><tr><td>Brest</td><td>7&nbsp;m</td></tr></table>
    <footer>© nobody</footer></body></html>"""
    assert main_text(html) == (
        "Tides\n\nThe keeper watched the marked post for years and wrote down what he saw each day."
        "\n\n- first\n- second\n  - inner"
        "\n\n```\ndef f(x):\n    return x  # kept    as it is\n```"
        "\n\nPort | Height\nBrest | 7 m"
    )


def test_short_words_between_links_survive():
    html = f"<body>{PROSE}<p>Use <a href=a>stable</a> or <a href=b>testing</a> here.</p></body>"
    assert main_text(html).endswith("Use stable or testing here.")


def test_a_list_of_links_goes_but_a_list_that_says_something_stays():
    links = "".join(f"<li><a href={i}>chapter {i}</a></li>" for i in range(6))
    notes = "".join(
        f"<li><a href={i}>item {i}</a> is explained in a few words</li>" for i in range(6)
    )
    text = main_text(f"<body>{PROSE}<ul>{links}</ul><ul>{notes}</ul></body>")
    assert "chapter 3" not in text
    assert "- item 3 is explained in a few words" in text


def test_the_marked_content_is_all_that_is_taken_where_it_holds_most_of_the_page():
    text = main_text(
        f"<body><div>Log in here</div><main>{PROSE * 3}</main><div>Mail us</div></body>"
    )
    assert "Log in" not in text
    assert "Mail us" not in text
    assert text.count("marked post") == 3


def test_of_alternatives_hidden_until_a_script_runs_the_last_is_shown():
    switch = "<span><span hidden>Chart</span><span hidden>Font</span></span>"
    text = main_text(f"<body>{PROSE}<h2>{switch}</h2><p hidden>secret</p></body>")
    assert text.endswith("Font")
    assert "Chart" not in text
    assert "secret" not in text


def test_a_page_that_is_one_preformatted_block_is_not_fenced():
    assert (
        main_text("<body><pre>RFC 1\n\n  Host software</pre></body>") == "RFC 1\n\n  Host software"
    )


def test_a_fence_is_longer_than_any_inside():
    text = main_text(f"<body>{PROSE}<pre>a\n```\nb</pre></body>")
    assert text.endswith("````\na\n```\nb\n````")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_is_found_without_a_mark_but_stray_zeros_do_not_make_it(encoding):
    html = f"<html><body>{PROSE}<p>潮汐一万</p></body></html>"
    assert one_text(html.encode(encoding)).endswith("潮汐一万")
    for page_bytes in (b"<p>a\0b</p>" * 500, b"<p>ab\0c </p>" * 500, bytes(5000)):
        assert one_reason(page_bytes) == "not text"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "big5", "utf-16"])
def test_the_encoding_is_found(encoding):
    text = "這是一個關於編碼的網頁，裡面有很多漢字，用來測試程式能否認出它的編碼。" * 4
    if encoding in ("gb18030", "big5"):
        html = f"<html><head><meta charset={encoding}></head><body><p>{text}</p></body></html>"
    else:
        html = f"<html><body><p>{text}</p></body></html>"
    assert one_text(html.encode(encoding)) == text


def test_the_encoding_a_page_declares_counts_where_its_bytes_tell_too_little():
    html = "<html><head><meta charset=euc-kr></head><body><p>안녕</p></body></html>"
    assert one_text(html.encode("euc-kr")) == "안녕"


def test_python_declares_its_own_encoding():
    source = f"# -*- coding: latin-1 -*-\n# café\n{GOOD_CODE}"
    assert "# café" in one_text(source.encode("latin-1"), media="text/x-python")


def test_code_keeps_its_spaces_and_text_loses_what_nobody_sees():
    assert one_text("x = 1   \n\n\n\n\ty = 2\n", media="text/x-python") == "x = 1   \n\n\n\n\ty = 2"
    odd = "soft\u00adly\u200b said\u00a0it \r\nnext\x07\n\n\n\nend"
    assert one_text(odd, media="text/plain") == "softly said it\nnext\n\nend"


def test_messages_become_a_conversation():
    rows = [{"role": "user", "content": "Hi\u200b"}, {"role": "assistant", "content": "Hello"}]
    (found,) = outcomes(page(json.dumps(rows), media="application/x-messages+json"))
    assert found.group == "instructions"
    assert found.messages[0] == {"role": "user", "content": "Hi"}
    assert found.text == "Hi\nHello"


@pytest.mark.parametrize(
    ("content", "media", "reason"),
    [
        ("<nav>only <a href=x>links</a></nav>", "text/html", "empty"),
        (" \n\u200b ", "text/plain", "empty"),
        (b"x" * 200 + b"\0" * 200, "text/plain", "not text"),
        ("good text " * 9 + "\ufffd" * 9, "text/plain", "encoding"),
        ("{}", "application/x-messages+json", "bad messages"),
        ('[{"role": "owner", "content": "x"}]', "application/x-messages+json", "bad messages"),
        ("[]", "application/x-messages+json", "empty"),
        ("%PDF", "application/pdf", "unknown media"),
    ],
)
def test_a_page_without_text_says_why(content, media, reason):
    assert one_reason(content, media=media) == reason


def test_a_page_above_the_limit_is_dropped_with_its_size():
    config = ExtractConfig(num_workers=1, max_page_bytes=1000)
    (found,) = extract(config, [page("<p>" + "long " * 1000, media="text/html")])
    assert (found.reason, found.score) == ("too large", 5003)


def test_lone_surrogates_in_json_do_not_stop_the_run():
    rows = '[{"role": "user", "content": "a\\ud800b"}, {"role": "assistant", "content": "c"}]'
    assert one_text(rows, media="application/x-messages+json") == "a\ufffdb\nc"


def test_pages_stay_in_order_whatever_their_kind():
    pages = [
        page(GOOD_CHINESE, f"s/{i}", "text/plain") if i % 3 else page(PROSE, f"s/{i}")
        for i in range(200)
    ]
    assert [o.id for o in extract(ExtractConfig(num_workers=2), pages)] == [p.id for p in pages]


TEX = r"\frac{a}{b} < x^2"
MATHML = (
    "<mrow><mfrac><mi>a</mi><mi>b</mi></mfrac><mo>&lt;</mo><msup><mi>x</mi><mn>2</mn></msup></mrow>"
)
NOTED = (
    f"<math><semantics>{MATHML}<annotation encoding='application/x-tex'>"
    r"\frac{a}{b} &lt; x^2</annotation></semantics></math>"
)


@pytest.mark.parametrize(
    "drawn",
    [
        NOTED,
        rf"<math alttext='\frac{{a}}{{b}} &lt; x^2'>{MATHML}</math>",
        f"<span class='katex'><span class='katex-mathml'>{NOTED}</span>"
        "<span class='katex-html' aria-hidden='true'>ab&lt;x2</span></span>",
        f"<span class='mwe-math-element'><span style='display: none;'>{NOTED}</span>"
        r"<img alt='{\displaystyle \frac{a}{b} &lt; x^2}'></span>",
        r"<img class='latex' alt='\frac{a}{b} &lt; x^2'>",
        f"<span class='MathJax_Preview'></span><span class='MathJax'><math>{MATHML}</math></span>"
        rf"<script type='math/tex'>{TEX}</script>",
        rf"<script type='math/tex'>% <![CDATA[{TEX} %]]></script>",
    ],
)
def test_a_formula_stands_once_as_its_latex_however_it_was_drawn(drawn):
    text = main_text(f"<body>{PROSE}<p>Let {drawn} hold.</p></body>")
    assert text.endswith(f"Let ${TEX}$ hold.")
    assert text.count("frac") == 1


def test_mathml_without_a_source_is_written_like_latex():
    sums = (
        "<math display='block'><munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover>"
        "<msub><mi>x</mi><mi>i</mi></msub><msqrt><mn>2</mn></msqrt><mtable><mtr><mtd>1</mtd>"
        "<mtd>2</mtd></mtr><mtr><mtd>3</mtd><mtd>4</mtd></mtr></mtable></math>"
    )
    text = main_text(f"<body>{PROSE}{sums}</body>")
    assert text.endswith(r"$$∑_{i}^{n} x_{i} \sqrt{2} 1 & 2 \\ 3 & 4$$")


def test_mathml_of_any_depth_gives_text():
    deep = "<math>" + "<mrow>" * 5000 + "x" + "</mrow>" * 5000 + "</math>"
    assert main_text(f"<body>{PROSE}<p>so {deep}</p></body>").endswith("so $x$")


def test_what_only_machines_and_screen_readers_get_goes():
    html = f"""<body><a class="skip-link screen-reader-text" href="#c">Skip to content</a>
    <div id="cookie-consent" role="dialog"><p>We use cookies</p></div>{PROSE}
    <div style="margin:0; display : none">hidden words</div><p class="sr-only">for readers</p>
    <div class="post-share"><a href=a>Tweet</a></div>
    <div id="respond"><h3>Leave a reply</h3><form><textarea>text</textarea></form></div></body>"""
    assert main_text(html) == PROSE.removeprefix("<p>").removesuffix("</p>")


def test_a_table_keeps_its_caption_empty_cells_and_signs():
    table = (
        "<table><caption>Heights</caption><tr><th>a</th><th>b</th><th>c</th></tr>"
        '<tr><td title="x>y">1 &lt; 2</td><td></td><td><p>p</p><p>q</p></td></tr></table>'
    )
    text = main_text(f"<body>{PROSE}{table}</body>")
    assert text.endswith("\n\nHeights\na | b | c\n1 < 2 |  | p q")


def test_definitions_quotes_and_inline_code_stay():
    html = f"<body>{PROSE}<dl><dt>ebb</dt><dd>falling <code>x  y</code></dd></dl>"
    html += "<blockquote><p>So it is.</p></blockquote></body>"
    assert main_text(html).endswith("ebb\nfalling x y\n\nSo it is.")


def test_a_link_named_like_a_permalink_stays_where_it_leads_elsewhere():
    html = f"<body>{PROSE}<h2>Sea<a href='#sea'>¶</a></h2><p>Press <a href='/e'>edit</a> now.</p>"
    assert main_text(html).endswith("Sea\n\nPress edit now.")


def test_cleaning_takes_no_longer_for_endless_spaces():
    begin = time.process_time()
    assert clean_text("a \t\nb" + " \t" * 200_000 + "c \t") == "a\nb" + " \t" * 200_000 + "c"
    assert time.process_time() - begin < 1.0
