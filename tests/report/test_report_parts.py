"""Numbers as text, plots as bytes, Markdown's escapes."""

import math
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.report.content import BarPlot, LinePlot, Row, Series, Table
from openqwen.report.figures import (
    LABEL_CHARACTERS,
    MAX_POINTS,
    log_ticks,
    plot_label,
    render_png,
    render_svg,
    thin,
)
from openqwen.report.formatting import (
    clean,
    compact,
    decimal,
    integer,
    multiple,
    percent,
    signed,
    small,
)
from openqwen.report.markdown_page import escape
from openqwen.report.palette import VARIABLES, group_places


def line_plot(**changes):
    lines = [
        Series(f"method {i} $x_1$ 中", [0.5, 1, 16], [30.0, 31.0 + i, 90.0], i) for i in (0, 1)
    ]
    facts = {"name": "a-plot", "title": "A & B", "x_label": "x", "y_label": "y", "series": lines}
    return LinePlot(**(facts | changes))


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (integer(1234567.4), "1,234,567"),
        (decimal(-1234.5678, 2), "−1,234.57"),
        (decimal(math.inf, 2), "∞"),
        (decimal(None, 2), "–"),
        (signed(0.25, 2), "+0.25"),
        (signed(-0.25, 2), "−0.25"),
        (percent(0.1234), "12.3 %"),
        (compact(9999), "9,999"),
        (compact(999_999), "1 M"),
        (compact(8_130_000), "8.13 M"),
        (compact(3e12), "3 T"),
        (small(3e-4), "3e-4"),
        (small(1e-8), "1e-8"),
        (small(0.002), "0.002"),
        (small(0.95), "0.95"),
        (multiple(0.5), "½×"),
        (multiple(16.0), "16×"),
        (clean("a\x00b\ud800\tc\n"), "a\ufffdb\ufffd\tc\n"),
    ],
)
def test_numbers_and_texts_are_shown_as_a_reader_expects(shown, expected):
    assert shown == expected


@given(st.integers(10_000, 10**15))
def test_a_compact_count_is_right_to_three_digits(count):
    number, unit = compact(count).split()
    factor = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[unit]
    assert float(number) * factor == pytest.approx(count, rel=0.00501)


@given(st.floats(1e-12, 1e12))
def test_a_small_setting_is_right_to_four_digits(value):
    assert float(small(value).replace(",", "")) == pytest.approx(value, rel=1e-3)


def test_a_plot_draws_with_the_pages_colours_and_names_nothing_outside():
    svg = render_svg(line_plot(log_x=True, log_y=True, mark=(1, "here"), ticks=[(1, "1×")]))
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == "A & B"
    assert set(re.findall(r"#[0-9a-f]{6}", svg)) == set()
    assert {"var(--ink)", "var(--series-0)", "var(--series-1)"} <= set(
        re.findall(r"var\([^)]*\)", svg)
    )
    assert "http" not in svg
    assert "<style" not in svg
    assert "method" not in svg, "letters are shapes"
    ids = {element.get("id") for element in root.iter() if element.get("id")}
    used = {element.get("href")[1:] for element in root.iter() if element.get("href")}
    assert used == ids - {i for i in ids if f"url(#{i})" in svg}
    assert all(i.startswith("a-plot-") for i in ids)


def test_a_plot_does_not_depend_on_the_users_own_style():
    import matplotlib

    before = render_svg(line_plot()), render_png(line_plot())
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "none", "axes.xmargin": 0.4}):
        after = render_svg(line_plot()), render_png(line_plot())
        assert matplotlib.rcParams["font.size"] == 30
    assert before == after


def test_bars_are_as_long_as_their_values():
    svg = render_svg(BarPlot("bars", "Bars", "n", ["first", "second"], [("kept", [400, 100], 0)]))
    paths = re.findall(r'd="([^"]*)"[^>]*style="fill: var\(--series-0\)', svg)
    widths = []
    for path in paths[:2]:
        xs = [float(x) for x in re.findall(r"[ML] ([\d.]+) ", path)]
        widths.append(max(xs) - min(xs))
    assert widths[0] == pytest.approx(4 * widths[1], rel=1e-3)


def test_colours_of_the_page_cover_the_palette_in_light_and_dark():
    from openqwen.report.html_page import HERE, STYLE_NAME

    style = (HERE / STYLE_NAME).read_text(encoding="utf-8")
    dark = style.split("prefers-color-scheme: dark")[1].split("}")[0]
    assert all(f"{name}:" in dark for name in VARIABLES.values())


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.integers(1, 90))
def test_thinning_keeps_few_points_and_the_range(values, copies):
    ys = values * copies
    xs, means = thin(range(len(ys)), ys)
    assert len(xs) == len(means) <= MAX_POINTS
    assert xs == sorted(xs)
    assert min(ys) - 1e-6 <= min(means) <= max(means) <= max(ys) + 1e-6
    if len(ys) <= MAX_POINTS:
        assert means == ys


@given(st.floats(-6, 6), st.floats(0.05, 8))
def test_a_logarithmic_axis_has_at_least_one_tick_and_few(start, decades):
    low, high = 10**start, 10 ** (start + decades)
    ticks = log_ticks(low, high)
    assert 1 <= len(ticks) <= 10
    assert all(low <= tick <= high for tick in ticks)


@given(st.text(max_size=80))
def test_a_label_is_short_and_of_letters_the_font_has(text):
    label = plot_label(text).replace("\\$", "$")
    assert len(label) <= LABEL_CHARACTERS + 1
    assert not label.startswith("_")
    assert all(c < "\u0250" or c in "αβε–…½¼¾×≈∞−§·" for c in label)


@given(st.text(alphabet=st.sampled_from("ab_*`[]|<>&\\~$\n -#1."), max_size=30))
def test_escaped_markdown_reads_back_as_the_text(text):
    escaped = escape(text)
    assert "\n" not in escaped
    assert "<" not in escaped
    assert not re.search(r"(?<!\\)(?:\\\\)*[`*\[\]|~$]", escaped)
    assert not re.search(r"(?<![a-z0-9\\])_|(?<!\\)_(?![a-z0-9])", escaped)
    plain = re.sub(r"\\(.)", r"\1", escaped)
    assert plain.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == " ".join(
        text.split("\n")
    )


def test_a_row_of_another_width_than_its_table_is_our_defect():
    with pytest.raises(AssertionError, match="Splits"):
        Table("Splits", ("a", "b"), [Row(("1",))])


def test_groups_keep_their_colours_whatever_else_is_there():
    assert group_places(["zh", "en"]) == {"en": 0, "zh": 1}
    assert group_places(["de", "code", "zh"]) == {"zh": 1, "code": 2, "de": 4}
