import json
import re

import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_CODE, GOOD_ENGLISH, document, page
from hypothesis import given, settings
from hypothesis import strategies as st

from openqwen.core.documents import Document, read_documents, read_drops, write_pages
from openqwen.core.errors import UserError
from openqwen.data.audit.funnel import Funnel, NothingLeftError, Samples
from openqwen.data.audit.pages import write_audit
from openqwen.data.config import (
    AuditConfig,
    DocumentsConfig,
    ExtractConfig,
    LanguageConfig,
    MixtureConfig,
)
from openqwen.data.documents import build_documents
from openqwen.data.steps import Rejected

FILES = (
    "documents/00000.parquet",
    "documents/00003.parquet",
    "drops/00002.parquet",
    "inputs.json",
    "funnel.json",
    "mixture.json",
    "contamination.json",
    "audit.html",
)
QUESTION = "Which of the following rivers carries the largest volume of water to the sea each year?"
HOSTILE = "<script>alert(1)</script> the text of which & that is <b>bold</b> to be."


def html(text):
    paragraphs = "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
    return f"<html><body><nav><a href=x>Home</a></nav>{paragraphs}</body></html>"


def messages(question, answer):
    rows = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps(rows, ensure_ascii=False)


def variant(text, number):
    """Return a text of the same words, or characters, in an order of its own."""

    def turned(part):
        step = number + 2
        return "".join(part[start::step] for start in range(step))

    if " " not in text:
        return re.sub(r"[^，。、；\s]+", lambda found: turned(found[0]), text)
    words = text.split()
    return (
        " ".join(word for start in range(number + 2) for word in words[start :: number + 2]) + "."
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A small sources stage with something for every step to drop."""
    root = tmp_path_factory.mktemp("sources")
    english = [page(html(variant(GOOD_ENGLISH, i)), f"en-books/{i}") for i in range(6)]
    english += [
        page(html(variant(GOOD_ENGLISH, 0).upper()), "en-books/same"),
        page(html(variant(GOOD_ENGLISH, 1) + " And more."), "en-books/near"),
        page(html("This is far too short to be of use."), "en-books/short"),
        page(html(variant(GOOD_ENGLISH, 8) + " " + QUESTION), "en-books/leak"),
        page(
            html(variant(GOOD_ENGLISH, 9) + " " + HOSTILE.replace("<", "&lt;")), "en-books/hostile"
        ),
        page("<nav>Home</nav>", "en-books/empty"),
    ]
    chinese = [page(html(variant(GOOD_CHINESE, i)), f"zh-books/{i}") for i in range(3)]
    chinese += [page(html("Ein ganz anderes Buch, auf Deutsch geschrieben."), "zh-books/german")]
    others = [page(GOOD_CODE, "code/1", "text/x-python")]
    chats = [
        page(messages("潮汐是什么？", "海水的涨落。"), "chats/1", "application/x-messages+json")
    ]
    for name, pages in {"a": english, "b": chinese, "c": others, "d": chats}.items():
        write_pages(root / "pages" / f"{name}.parquet", pages)
    (root / "benchmarks").mkdir()
    (root / "benchmarks" / "mmlu.jsonl").write_text(
        json.dumps({"id": "7", "text": QUESTION}) + "\n"
    )
    facts = {"sources": {"chats": {"non_commercial": True}, "code": {}}}
    (root / "sources.json").write_text(json.dumps(facts))
    return root


CONFIG = DocumentsConfig(
    extract=ExtractConfig(num_workers=1),
    language=LanguageConfig(languages=("en", "zh")),
    mixture=MixtureConfig(weights={"en": 1, "zh": 1}, target_bytes=30_000),
    validation_share=0.2,
    long_validation_documents=0,
)


@pytest.fixture(scope="module")
def built(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("documents")
    return out, build_documents(CONFIG, sources, out, seed=0)


def test_every_step_drops_what_it_should_and_says_why(built):
    out, counts = built
    reasons = {d.id: (d.step, d.reason) for d in read_drops(out / "drops")}
    assert reasons == {
        "en-books/empty": ("extract", "empty"),
        "chats/1": ("licence", "non-commercial"),
        "zh-books/german": ("language", "other language"),
        "en-books/same": ("exact", "same text"),
        "en-books/1": ("minhash", "near duplicate"),
        "en-books/short": ("rules", "too few words"),
        "en-books/leak": ("decontaminate", "overlaps mmlu"),
        "code/1": ("mixture", "no weight"),
    }
    assert counts["dropped"]["rules"] == 1
    assert counts["documents_by_group"] == {"en": 7, "zh": 3}


def test_the_kept_are_weighted_and_some_held_out(built):
    out, counts = built
    kept = list(read_documents(out / "documents"))
    assert {d.id for d in kept if d.group == "zh"} == {f"zh-books/{i}" for i in range(3)}
    assert sum(d.split == "validation" for d in kept) == 2
    train = [d for d in kept if d.split == "train"]
    assert all(1 <= d.epochs <= 4 for d in train)
    mixture = json.loads((out / "mixture.json").read_text())
    assert mixture["mixture_bytes"] == sum(d.epochs * len(d.text.encode()) for d in train)
    assert counts["mixture_bytes"] == mixture["mixture_bytes"]


def test_in_is_out_and_dropped_at_each_step(built):
    out, _ = built
    rows = json.loads((out / "funnel.json").read_text())
    assert [row["step"] for row in rows] == [
        *("extract", "licence", "language", "url", "exact", "minhash", "rules", "decontaminate"),
        "mixture",
    ]
    for row, later in zip(rows, [*rows[1:], None], strict=True):
        assert row["in"] == row["out"] + sum(row["dropped"].values())
        for key in ("groups", "sources"):
            assert sum(n["in"] for n in row[key].values()) == row["in"]
            assert sum(n["out"] for n in row[key].values()) == row["out"]
        assert later is None or later["in"] == row["out"]


def test_the_contamination_report_holds_both_texts(built):
    out, _ = built
    report = json.loads((out / "contamination.json").read_text())
    (found,) = report["documents"]
    assert found["id"] == "en-books/leak"
    assert found["overlaps"][0]["item_text"] == QUESTION
    assert QUESTION in found["overlaps"][0]["document_text"]


def test_the_same_pages_give_the_same_bytes_in_another_process(sources, built, tmp_path):
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from test_documents_stage import CONFIG;"
        "from openqwen.data.documents import build_documents;"
        "build_documents(CONFIG, Path(sys.argv[1]), Path(sys.argv[2]), seed=0)"
    )
    program = f"import sys; sys.path[:] = {sys.path!r}; {code}"
    command = [sys.executable, "-c", program, str(sources), str(tmp_path)]
    subprocess.run(command, check=True, env={"PYTHONHASHSEED": "77"}, capture_output=True)
    for name in FILES:
        assert (tmp_path / name).read_bytes() == (built[0] / name).read_bytes(), name


def test_steps_can_be_left_out(sources, tmp_path):
    config = CONFIG.model_copy(
        update={"skip": ("url", "exact", "minhash", "rules", "decontaminate")}
    )
    counts = build_documents(config, sources, tmp_path, seed=0)
    assert list(counts["dropped"]) == ["extract", "licence", "language", "mixture"]
    assert counts["documents_by_group"]["en"] == 11


def test_each_step_prints_one_line(sources, tmp_path, capsys):
    build_documents(CONFIG, sources, tmp_path, seed=0)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"documents extract       18 pages → 17   [\d,]+/s a worker   dropped 1: empty 1",
        next(line for line in lines if "extract" in line),
    )
    assert lines[-1] == f"documents audit         {tmp_path / 'audit.html'}"
    assert any(re.match(r"documents mixture       zh  +[\d.]+ kB × [\d.]+ = ", x) for x in lines)


def test_nothing_left_is_an_error_that_says_where_to_look(sources, tmp_path):
    config = CONFIG.model_copy(update={"language": LanguageConfig(languages=("ko",))})
    only_text = tmp_path / "sources"
    (only_text / "pages").mkdir(parents=True)
    (only_text / "sources.json").write_text('{"sources": {}}')
    write_pages(only_text / "pages" / "a.parquet", [page(html(GOOD_ENGLISH))])
    with pytest.raises(UserError) as caught:
        build_documents(config, only_text, tmp_path / "out", seed=0)
    assert str(caught.value) == (
        "documents language: all 1 documents were dropped (other language 1); "
        f"samples of each reason: {tmp_path / 'out' / 'audit.html'}"
    )
    assert "The tide tables" in (tmp_path / "out" / "audit.html").read_text()


def test_a_folder_without_pages_is_an_error(tmp_path):
    with pytest.raises(UserError, match=r"sources\.json does not exist"):
        build_documents(CONFIG, tmp_path, tmp_path / "out", seed=0)


def test_the_audit_page_escapes_everything_and_asks_nothing_of_the_network(built):
    text = (built[0] / "audit.html").read_text()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "alert(1)</script>" not in text
    assert text.count("<script") == 1
    assert "default-src 'none'" in text
    assert not re.search(r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", text)


def test_hostile_facts_of_a_document_are_escaped_too(tmp_path):
    evil = '"><script>alert(2)</script>'
    funnel = Funnel(AuditConfig(), seed=0)
    bad = document(evil, f"s/{evil}", url=evil, licence=evil, language=evil, source=evil)

    def reject(documents):
        for found in documents:
            yield Rejected(found, evil, 1.0, evil) if found is bad else found

    kept = list(funnel.through("step", reject, [bad, document(evil, "s/2", licence=evil)]))
    for found in kept:
        funnel.samples.offer_kept(found)
    write_audit(tmp_path / "audit.html", funnel)
    text = (tmp_path / "audit.html").read_text()
    assert "<script>alert(2)" not in text
    assert '"><script>' not in text
    assert text.count("&lt;script&gt;alert(2)") >= 8


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.text("ab", min_size=1, max_size=3), st.booleans()), max_size=30),
    st.integers(1, 5),
)
def test_the_funnel_loses_no_document(verdicts, samples):
    documents = [document(text, f"s/{i}") for i, (text, _) in enumerate(verdicts)]
    drop = {d.id for d, (_, dropped) in zip(documents, verdicts, strict=True) if dropped}

    def step(items):
        for item in items:
            yield Rejected(item, item.text) if item.id in drop else item

    drops = []
    funnel = Funnel(AuditConfig(samples=samples), seed=0, keep_drop=drops.append)
    kept = list(funnel.through("step", step, documents))
    if len(drop) == len(documents):
        with pytest.raises(NothingLeftError):
            funnel.say(["step"])
    elif documents:
        funnel.say(["step"])
    row = funnel.rows[0]
    assert [d.id for d in kept] == [d.id for d in documents if d.id not in drop]
    assert {d.id for d in drops} == drop
    assert row["in"] == len(documents) == row["out"] + sum(row["dropped"].values())
    for reason, count in row["dropped"].items():
        assert len(funnel.samples.of(("step", reason))) == min(count, samples)


def test_a_step_that_forgets_a_document_is_caught():
    def forgetful(documents):
        yield next(iter(documents))
        for _ in documents:
            pass

    funnel = Funnel(AuditConfig(), seed=0)
    list(funnel.through("step", forgetful, [document("a"), document("b")]))
    with pytest.raises(AssertionError, match="took 2 items and answered 1"):
        funnel.say(["step"])


def test_the_account_of_parts_is_that_of_the_whole():
    documents = [document(f"text {i}", f"s/{i}") for i in range(60)]

    def odd(items):
        for item in items:
            yield Rejected(item, "odd", 1.0) if int(item.id[2:]) % 2 else item

    def account(*parts):
        total = Funnel(AuditConfig(samples=5), seed=0)
        for part in parts:
            funnel = Funnel(AuditConfig(samples=5), seed=0)
            for kept in funnel.through("odd", odd, part):
                funnel.samples.offer_kept(kept)
            total.add(json.loads(json.dumps(funnel.as_json())))
        return total.rows, total.samples.as_json()

    whole = account(documents)
    assert account(documents[:7], documents[7:40], documents[40:]) == whole
    assert whole[0][0]["dropped"] == {"odd": 30}


def test_samples_do_not_depend_on_the_order():
    documents = [document(f"text {i}", f"s/{i}") for i in range(50)]
    drawn = []
    for order in (documents, documents[::-1]):
        samples = Samples(AuditConfig(samples=7), seed=3)
        for found in order:
            samples.offer(("kept",), found)
        drawn.append([sample.id for sample in samples.of(("kept",))])
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) == 7


def test_an_excerpt_is_cut_and_says_so():
    samples = Samples(AuditConfig(excerpt_chars=80), seed=0)
    samples.offer(("kept",), Document("i", "s", "", "", "text/plain", "x" * 100))
    (sample,) = samples.of(("kept",))
    assert sample.text == "x" * 80 + " …"
    assert sample.num_chars == 100
