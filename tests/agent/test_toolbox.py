"""The tools to begin with: what they answer, what they refuse, and nothing outside their folder."""

import contextlib
import json
import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.sandbox.check import require
from openqwen.agent.toolbox.calculator import CalculatorError, calculate
from openqwen.agent.toolbox.catalogue import TOOLS, open_tools
from openqwen.agent.toolbox.files import MAX_BYTES, Folder, FolderError, file_tools
from openqwen.agent.toolbox.plot import PlotError, plot_tool
from openqwen.agent.toolbox.search import PASSAGE_CHARS, FolderIndex, passages, search_tool
from openqwen.core.errors import UserError


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("17 * 23 + 4", "395"),
        ("0.1 + 0.2", "0.3"),
        ("1/3 + 1/6", "0.5"),
        ("1/3", "1/3 (about 0.33333333333333333333)"),
        ("2 ** 100", "1267650600228229401496703205376"),
        ("2^10", "1024"),
        ("-7 // 2", "-4"),
        ("-7 % 3", "2"),
        ("２ × （3 − 1） ÷ 4 =", "1"),
        ("1,234,567 + 1", "1234568"),
        ("max(1, 200)", "200"),
        ("min(1, sqrt(2))", "1"),
        ("15% * 80", "12"),
        ("sqrt(16/9)", "4/3 (about 1.3333333333333333333)"),
        ("sqrt(2)", "1.4142135623730950488"),
        ("round(2.5)", "3"),
        ("round(-2.345, 2)", "-2.35"),
        ("log(100, 10)", "2"),
        ("sin(pi)", "0"),
        ("0.12345678901234567890 * 10", "1.234567890123456789"),
        ("(-1) ** 99999999999", "-1"),
        ("2 ** -2", "0.25"),
        ("comb(5, 2) + factorial(4)", "34"),
        ("sum([1, 2, 3])", "6"),
        ("10 ** 1000", "10000000000000000000… (1,001 digits)"),
        ("2 ** 14001", "5.2598007346506235608E+4214"),
    ],
)
def test_the_calculator_is_exact_where_it_can_be(expression, value):
    assert calculate(expression) == value


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / 0", "division by zero"),
        ("0 ** -1", "division by zero"),
        ("9 ** 9 ** 9", "not a number"),
        ("e ** 1000000000000", "not a number"),
        ("factorial(10000)", "from 0 to 2,000"),
        ("sin(10 ** 400)", "too large"),
        ("sqrt(-1)", "negative"),
        ("__import__('os').system('true')", "not arithmetic"),
        ("().__class__", "not arithmetic"),
        ("[x for x in (1,)]", "not arithmetic"),
        ("'a' * 9", "not arithmetic"),
        ("open(1)", "no function open"),
        ("max()", "does not take 0"),
        ("two plus two", "not an arithmetic expression"),
        ("", "not an arithmetic expression"),
        ("1" * 501, "at most 500"),
        ("-" * 400 + "1", "deeper than 60"),
    ],
)
def test_the_calculator_refuses_in_one_line_and_at_once(expression, message):
    began = time.monotonic()
    with pytest.raises(CalculatorError, match=message) as caught:
        calculate(expression)
    assert time.monotonic() - began < 0.5
    assert "\n" not in str(caught.value)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**9), st.sampled_from("+-*"))
def test_whole_numbers_are_computed_as_python_does(a, b, operator):
    assert calculate(f"{a} {operator} {b}") == str(eval(f"{a} {operator} {b}"))


@given(st.text("0123456789+-*/%().,eE ^sqrt", max_size=30))
def test_no_text_breaks_the_calculator(text):
    with contextlib.suppress(CalculatorError):
        assert calculate(text)


@pytest.fixture
def notes(tmp_path):
    root = tmp_path / "notes"
    (root / "plans").mkdir(parents=True)
    (root / "trip.md").write_text("# Trip\nThe train to Lisbon leaves at 08:15 from platform 4.\n")
    (root / "plans" / "zh.txt").write_text(
        "机器学习是人工智能的一个分支。\n深度学习使用神经网络。\n"
    )
    (root / "photo.bin").write_bytes(b"\x00\x01\x02")
    (tmp_path / "secret.txt").write_text("the password is tulip")
    (root / "link.txt").symlink_to(tmp_path / "secret.txt")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return root


def test_files_of_the_folder_are_listed_and_read(notes):
    listing, reading = file_tools(notes)
    assert listing.call({}).text == "photo.bin (3 bytes)\nplans/\ntrip.md (60 bytes)"
    assert listing.call({"path": "plans"}).text.startswith("zh.txt (")
    assert "platform 4" in reading.call({"path": "trip.md"}).text
    assert "深度学习" in reading.call({"path": "/plans/zh.txt"}).text


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("../secret.txt", "leads outside"),
        ("link.txt", "leads outside"),
        ("up/secret.txt", "leads outside"),
        ("plans/../../secret.txt", "leads outside"),
        ("../nothing", "leads outside"),
        ("pipe", "no regular file"),
        ("photo.bin", "not a text"),
        ("nothing.md", "not there"),
        ("plans", "is a folder"),
        ("a" * 5000, "can't be read"),
        ("a\0b", "NUL"),
    ],
)
def test_nothing_else_is_read_and_nothing_waits(notes, path, message):
    with pytest.raises(FolderError, match=message) as caught:
        Folder(notes).read(path)
    assert "tulip" not in str(caught.value)


def test_an_absolute_path_means_the_folder_and_not_the_machine(notes):
    with pytest.raises(FolderError, match="not there"):
        Folder(notes).read("/etc/passwd")


def test_a_long_file_is_read_piece_by_piece(notes):
    text = "".join(f"line {i:05}\n" for i in range(2000))
    (notes / "long.txt").write_text(text)
    folder, read, offset = Folder(notes), "", 0
    while True:
        piece = folder.read("long.txt", offset)
        body, _, note = piece.partition("\n… ")
        read += body
        if not note:
            break
        offset += MAX_BYTES
        assert f"offset {offset}" in note
    assert read == text


def test_search_finds_words_in_both_languages(notes, tmp_path):
    index = FolderIndex(notes, cache=tmp_path / "cache")
    assert [hit.path for hit in index.search("trains Lisbon")] == ["trip.md"], "stemmed"
    assert [hit.path for hit in index.search("神经")] == ["plans/zh.txt"]
    assert [hit.path for hit in index.search("人工智能")] == ["plans/zh.txt"]
    assert [hit.path for hit in index.search("经神")] == [], "characters in another order"
    assert [hit.path for hit in index.search("习")] == ["plans/zh.txt"]
    assert [hit.path for hit in index.search("Lisbon 火车")] == ["trip.md"], "some words"
    assert index.search("tulip") == [], "links are not followed"
    for nothing in ("", "…", '"; DROP TABLE words; --', 'NEAR("', "path:x*"):
        assert isinstance(index.search(nothing), list)
    assert index.search("trip")[0].line == 1


def test_only_what_changed_is_read_again(notes, tmp_path):
    index = FolderIndex(notes, cache=tmp_path / "cache")
    assert index.refresh() == (3, 3)
    assert FolderIndex(notes, cache=tmp_path / "cache").refresh() == (3, 0)
    (notes / "trip.md").write_text("The ferry to Porto.")
    (notes / "new.txt").write_text("ticket")
    (notes / "plans" / "zh.txt").unlink()
    assert index.refresh() == (3, 2)
    assert index.search("Lisbon") == []
    assert index.search("神经") == []
    assert index.search("ferry")[0].path == "trip.md"


def test_a_broken_index_is_made_anew(notes, tmp_path):
    index = FolderIndex(notes, cache=tmp_path / "cache")
    index.refresh()
    index.path.write_bytes(b"no database at all" * 100)
    assert FolderIndex(notes, cache=tmp_path / "cache").search("Lisbon")


@given(st.text("ab \n学", max_size=3000))
def test_passages_hold_all_lines_and_know_where_they_begin(text):
    found = list(passages(text))
    lines = text.splitlines()
    assert "".join("".join(part for _, part in found).split()) == "".join(text.split())
    for line, part in found:
        assert len(part) <= 2 * PASSAGE_CHARS
        assert part.splitlines()[0].strip() in lines[line - 1]


def test_search_shows_where_a_passage_stands(notes, cache):
    tool = search_tool(notes)
    assert tool.call({"query": "platform"}).text.startswith("trip.md, line 1:\n# Trip\n")
    assert "nothing in the folder" in tool.call({"query": "xyzzy"}).text
    assert list((cache / "search").glob("*.sqlite"))


@pytest.fixture
def sandbox():
    try:
        require("full")
    except UserError as error:
        pytest.skip(f"no sandbox here: {error}")


@pytest.mark.usefixtures("sandbox")
def test_a_plot_is_a_png_drawn_in_the_sandbox():
    tool = plot_tool()
    result = tool.call({"kind": "bar", "x": ["a", "b"], "y": [1, 2.5], "title": r"$\frac{$"})
    assert result.text.startswith("drawn: plot.png, a bar plot of 2 values")
    assert result.files["plot.png"].startswith(b"\x89PNG")
    assert len(result.files["plot.png"]) > 3000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "line", "y": []}, "y must have 1 to 10,000 values, got 0"),
        ({"kind": "line", "y": [1, 2], "x": [1]}, "x has 1 values and y has 2"),
    ],
)
def test_numbers_that_can_t_be_drawn_are_told(arguments, message):
    with pytest.raises(PlotError, match=message):
        plot_tool().call(arguments)


@pytest.mark.usefixtures("sandbox")
def test_python_runs_in_a_session():
    with open_tools(["python"]) as (python,):
        assert "42" in python.call({"code": "x = 41\nprint(x + 1)"}).text
        assert "41" in python.call({"code": "x"}).text


def test_tools_are_opened_by_name(notes, cache):
    with open_tools(["calculator", "files", "search", "plot", "files"], notes) as tools:
        names = [tool.name for tool in tools]
    assert names == ["calculator", "list_files", "read_file", "search_files", "plot"]
    for tool in tools:
        assert tool.description
        assert json.dumps(tool.definition())
    for wrong, message in [
        (["oven"], f"no tool 'oven'; there are: {', '.join(TOOLS)}"),
        (["search"], "the tool search needs --folder DIR"),
    ]:
        with pytest.raises(UserError, match=message), open_tools(wrong):
            pass
    with pytest.raises(UserError, match="is no folder"), open_tools(["files"], notes / "trip.md"):
        pass
