"""The page of a run: numbers where they belong, nothing from outside, both forms alike."""

import json
import os
import re
import shutil
import subprocess
import sys

import pytest
from small_run import STAGES, change_json, write_run

from openqwen.core.errors import UserError
from openqwen.report.page import build_page, write_report
from openqwen.report.run_facts import read_run

EVIL = "<script>alert('x')</script> \"q\" | `b` *s* [l](javascript:1) 中文 \x1b[31m \u202e"


def rows_of(read, caption_cell):
    """Return the rows, by first cell, of the one table that has a column of that name."""
    (table,) = [table for table in read.tables if caption_cell in table[0]]
    return {row[0]: row[1:] for row in table}, table[0]


def test_the_numbers_of_every_stage_appear_with_units_and_separators(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    for text in (
        "1,203",  # pages of the source
        "3.1 MB",
        "14,044",  # benchmark texts
        "1,095 documents",
        "8.4 %",  # dropped for being too short
        "plain falls 443.0 kB short of what its weight asks",
        "1 document shares a 13-gram with one of 14,208 benchmark texts: dropped.",
        "4.00",  # bytes a token
        "6,123,456",  # training tokens
        "8,123,456",  # parameters
        "1.875",  # bits a byte
        "0.751 TFLOP/s",
        "61 %",  # share of the peak
        "9,055 (9,010 – 9,100)",  # tokens a second
        "1:23 · peak memory 1.2 GB",
        "19:28",  # time of all thirteen stages
        "n = 8 held-out documents (5 plain, 3 zh) of 4,096 tokens each; seed 17",
        "2 of 8 in all",
    ):
        assert text in read.text, text


def test_reasons_stand_below_the_step_that_they_belong_to(full_run, read_html):
    rows, _ = rows_of(read_html(full_run[0] / "report" / "report.html"), "of its input")
    assert rows["rules (quality rules)"] == ["1,200", "1,095", "105", "8.8 %"]
    assert rows["too short plain"] == ["", "", "101", "8.4 %"]
    assert list(rows).index("too short plain") == list(rows).index("rules (quality rules)") + 1
    assert rows["all steps"] == ["1,210", "1,095", "115", "9.5 %"]


def test_the_audit_page_is_linked_from_wherever_the_report_stands(read_html, tmp_path):
    run = write_run(tmp_path / "run", stages=("documents",))
    write_report(run, run / "report")
    assert "../documents/audit.html" in (run / "report" / "report.md").read_text(encoding="utf-8")
    write_report(run, tmp_path / "a b" / "c")
    page = tmp_path / "a b" / "c" / "report.html"
    links = [a["href"] for tag, a in read_html(page).tags if tag == "a"]
    (audit,) = [link for link in links if link.endswith("audit.html")]
    assert (page.parent / audit).resolve() == (run / "documents" / "audit.html").resolve()


def test_decontamination_left_out_is_said(tmp_path, read_html):
    run = write_run(tmp_path / "run", stages=("documents",))

    def page_text():
        write_report(run, run / "report")
        return read_html(run / "report" / "report.html").text

    def forget(facts):
        facts |= {"test_items": 0, "documents": []}

    change_json(run / "documents" / "contamination.json", forget)
    assert "There were no benchmark texts, so no overlap could be looked for." in page_text()
    manifest = run / "documents" / "manifest.json"
    facts = json.loads(manifest.read_text(encoding="utf-8"))
    facts["settings"]["skip"] = ["decontaminate"]
    manifest.write_text(json.dumps(facts), encoding="utf-8")
    assert "Overlap with benchmarks was not looked for (documents.skip)." in page_text()


def test_our_settings_stand_beside_the_reports(full_run, read_html):
    rows, head = rows_of(read_html(full_run[0] / "report" / "report.html"), "Qwen-14B")
    assert head[1:] == ["this run", "Qwen-1.8B", "Qwen-7B", "Qwen-14B"]
    assert rows["parameters"] == ["8,123,456", "1,836,828,672", "7,721,324,544", "14,167,290,880"]
    assert rows["peak learning rate"] == ["0.002", "3e-4", "3e-4", "3e-4"]
    assert rows["batch (tokens)"] == ["4,096", "4 M", "4 M", "4 M"]
    assert rows["context length (tokens)"] == ["256", "2,048", "2,048", "2,048"]
    assert rows["AdamW β₁, β₂"] == ["0.9, 0.95"] * 4
    assert rows["warm-up steps*"] == ["40", "2,000", "2,000", "2,000"]


def test_table_3_stands_at_equal_multiples_of_the_training_length(full_run, read_html):
    rows, head = rows_of(read_html(full_run[0] / "report" / "report.html"), "4×")
    assert head[1:] == ["½× (128)", "1× (256)", "2× (512)", "4×", "8×", "16× (4,096)"]
    assert rows["no method"] == ["41.31", "38.22", "55.43", "–", "–", "94.14"]
    assert rows["Qwen-7B"] == ["4.23", "3.78", "39.35", "469.81", "2,645.09", "–"]
    assert rows["Qwen-14B"][:2] == ["–", "3.46"]
    assert rows["control: truncated context"][-1] == "∞"


def test_only_what_the_interval_allows_is_called_different(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    rows, _ = rows_of(read, "4×")
    weak = rows["+ dynamic NTK plain"]
    assert weak[2] == "55.99 ≈", "a difference of 0.01 ± 0.05 nats is none"
    assert weak[5] == "1,234.50"
    assert weak[:2] == ["41.31", "38.22"], "up to the training length every method is the model"
    assert rows["+ dynamic NTK + LogN + windows"][2] == "39.50"
    assert "perplexity is 94.14 without any method and 40.25 with" in read.text
    assert "better by 0.850 ± 0.050 nats a token (paired, 95 %)" in read.text


def test_one_document_claims_no_difference(tmp_path, read_html):
    run = write_run(tmp_path / "run", stages=("longcontext",))

    def forget_intervals(results):
        results["num_documents"] = 1
        for cell in (cell for row in results["rows"] for cell in row["cells"]):
            cell |= {"difference_half_width": None, "low": None, "high": None, "differs": False}

    change_json(run / "longcontext" / "results.json", forget_intervals)
    write_report(run, tmp_path / "out")
    read = read_html(tmp_path / "out" / "report.html")
    rows, _ = rows_of(read, "4×")
    assert rows["+ dynamic NTK + LogN + windows"][5] == "40.25 ≈"
    assert "no difference is claimed" in read.text


def test_text_of_a_run_is_shown_and_never_markup(tmp_path, read_html, read_markdown_tables):
    run = write_run(tmp_path / "run", word=EVIL)
    write_report(run, run / "report", title=EVIL)
    text = (run / "report" / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;alert(" in text
    read = read_html(run / "report" / "report.html")
    assert "javascript:" not in "".join(str(a.get("href")) for _, a in read.tags)
    assert "中文" in read.text
    assert "\x1b" not in text
    assert "\u202e" not in text
    markdown = (run / "report" / "report.md").read_text(encoding="utf-8")
    outside_fences = "".join(markdown.split("```")[::2])
    assert "<script" not in outside_fences
    assert not re.search(r"(?<!\\)\]\(javascript", outside_fences)
    assert read_markdown_tables(run / "report" / "report.md") == [
        [[cell.replace("\n", " ") for cell in row] for row in table] for table in read.tables
    ]


def test_the_page_loads_nothing_from_outside(full_run, read_html):
    page = full_run[0] / "report" / "report.html"
    read, text = read_html(page), page.read_text(encoding="utf-8")
    tags = {tag for tag, _ in read.tags}
    assert not tags & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text
    assert "http:" not in text
    assert "https:" not in text
    for _, attributes in read.tags:
        assert "src" not in attributes
        href = attributes.get("href", "#")
        assert href.startswith("#") or (page.parent / href).is_file(), href


def test_every_link_inside_the_page_has_one_place_to_go(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    ids = [attributes["id"] for _, attributes in read.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    targets = {a["href"][1:] for _, a in read.tags if a.get("href", "").startswith("#")}
    assert targets <= set(ids)
    clips = {a["clip-path"][5:-1] for _, a in read.tags if "clip-path" in a}
    assert clips
    assert clips <= set(ids)


def test_markdown_holds_the_same_tables_and_its_plots_exist(
    full_run, read_html, read_markdown_tables
):
    run, counts = full_run
    markdown = run / "report" / "report.md"
    tables = read_markdown_tables(markdown)
    assert tables == read_html(run / "report" / "report.html").tables
    assert len(tables) == counts["tables"] > 15
    text = markdown.read_text(encoding="utf-8")
    pictures = [line.rsplit("](", 1)[1][:-1] for line in text.splitlines() if line[:2] == "!["]
    assert len(pictures) == counts["plots"] + 1
    for name in pictures:
        start = (run / "report" / name).read_bytes()[:8]
        assert start == b"\x89PNG\r\n\x1a\n" if name.endswith(".png") else start[:4] == b"<svg"


def test_equal_runs_give_equal_bytes_in_any_process(full_run, tmp_path):
    run, _ = full_run
    code = (
        "import sys; from pathlib import Path; from openqwen.report.page import write_report;"
        "write_report(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    command = [sys.executable, "-c", code, str(tmp_path / "run"), str(tmp_path / "run" / "report")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7"})
    files = sorted(path for path in (run / "report").rglob("*") if path.is_file())
    assert len(files) == 2 + 1 + full_run[1]["plots"]
    assert full_run[1]["plots"] == 7 + 2 + 3 + 3 + 10 + 1 + 2 + 2
    for path in files:
        twin = tmp_path / "run" / "report" / path.relative_to(run / "report")
        assert path.read_bytes() == twin.read_bytes(), path.name


@pytest.mark.parametrize("missing", STAGES)
def test_a_stage_that_has_not_run_is_named_and_the_rest_is_shown(tmp_path, missing):
    run = write_run(tmp_path / "run", stages=[name for name in STAGES if name != missing])
    page = build_page(read_run(run, run / "report"))
    assert page.intro[-1] == f"Not finished yet, and so not shown: {missing}."
    assert [section.id for section in page.sections] == ["lineage", *STAGES, "again"]
    shown = {section.id: section.facts for section in page.sections}
    assert shown[missing] == "not run"
    assert all(shown[name].startswith("1:23") for name in STAGES if name != missing)


def test_every_finished_stage_is_drawn_as_done(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    boxes = [a["class"] for tag, a in read.tags if tag == "rect" and "class" in a]
    assert boxes.count("done") == 14
    assert boxes.count("later") == 0


def test_each_model_is_beside_the_first_on_the_same_items(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    rows, _ = rows_of(read, "to the first")
    assert rows["base"] == ["2.500", "–"]
    assert rows["chat"] == ["2.750", "+0.250 ± 0.050"]
    assert rows["code"] == ["2.530", "+0.030 ± 0.050 ≈"]
    rows, _ = rows_of(read, "valid tool call")
    assert rows["chat"][0] == "50.0 (7.0 – 21.0)"
    assert rows["chat"][3] == "12.5 (7.0 – 21.0)"


def test_an_unfinished_stage_is_not_called_unstarted(tmp_path, read_html):
    run = write_run(tmp_path / "run")
    (run / "base" / "manifest.json").unlink()
    write_report(run, run / "report")
    rows, _ = rows_of(read_html(run / "report" / "report.html"), "peak memory")
    assert rows["base"][1] == "not finished"


def test_a_file_changed_after_its_stage_is_said(tmp_path, read_html):
    run = write_run(tmp_path / "run")
    (run / "base" / "model.safetensors").write_bytes(b"1" * 999)
    write_report(run, run / "report")
    text = read_html(run / "report" / "report.html").text
    assert "Changed since it was written: base/model.safetensors has 999 bytes, not 1,000" in text
    assert str(tmp_path) not in text


SETTINGS_HEAD = ["setting", "value", "meaning", "default (source)"]


def test_settings_are_listed_with_value_meaning_and_default(full_run, read_html):
    read = read_html(full_run[0] / "report" / "report.html")
    settings = [table for table in read.tables if table[0] == SETTINGS_HEAD]
    rows = {row[0]: row[1:] for row in settings[4]}  # of the base
    meaning = "peak learning rate"
    assert rows["learning_rate"] == ["0.002", meaning, "3e-4 (Table 1)"]
    assert rows["beta2"] == ["0.95", "AdamW β₂", "same (§2.4)"]
    assert rows["model.hidden_size"][0] == "256"


def test_the_title_is_the_callers_or_the_recipes_or_the_name(tmp_path, read_html):
    run = write_run(tmp_path / "run", stages=("shards",))

    def title(**arguments):
        write_report(run, tmp_path / "out", **arguments)
        return read_html(tmp_path / "out" / "report.html").text.split("\n")[3:8]

    assert "openqwen: tiny" in title()
    (run / "recipe.toml").write_text('name = "tiny"\n[report]\ntitle = "An evening"\n')
    assert "An evening" in title()
    assert "Mine" in title(title="Mine")


def test_a_directory_without_a_finished_stage_is_refused_in_one_line(tmp_path):
    with pytest.raises(UserError, match="holds no finished stage to report on"):
        write_report(tmp_path, tmp_path / "out")


def test_a_finished_stage_without_its_file_is_refused_by_name(tmp_path):
    run = write_run(tmp_path / "run", stages=("shards",))
    (run / "shards" / "shards.json").unlink()
    with pytest.raises(UserError, match=r"shards\.json does not exist"):
        write_report(run, run / "report")


def test_files_of_another_form_are_refused_in_one_line(tmp_path):
    run = write_run(tmp_path / "run", stages=("longcontext",))
    change_json(run / "longcontext" / "results.json", lambda results: results.pop("passkey"))
    with pytest.raises(UserError, match=r"longcontext: its files lack 'passkey'"):
        write_report(run, run / "report")


def test_the_reports_numbers_are_the_reports():
    from openqwen.report.reported import reported

    tables = reported()
    assert tables["table3_perplexity_arxiv"]["rows"]["Qwen-7B"][-1] == 2645.09
    assert tables["table2_base"]["rows"]["Qwen-14B"] == [66.3, 72.1, 61.3, 24.8, 32.3, 40.8, 53.4]
    for name, table in tables.items():
        for row in table.get("rows", {}).values() if isinstance(table, dict) else ():
            assert len(row) == len(table["columns"]), name


def test_table_1_agrees_with_the_presets():
    from openqwen.model.config import QWEN_1_8B, QWEN_7B, QWEN_14B, count_parameters
    from openqwen.report.reported import reported

    rows = reported()["table1_models"]["rows"]
    for row, preset in zip(rows.values(), (QWEN_1_8B, QWEN_7B, QWEN_14B), strict=True):
        assert row[:5] == [
            count_parameters(preset),
            preset.hidden_size,
            preset.num_attention_heads,
            preset.num_hidden_layers,
            preset.intermediate_size,
        ]
