r"""Answers to mathematical questions: found in replies, and equal or not.

The pairs hold what a comparison of texts misses and what a lax rule accepts.
"""

import time

import pytest

from openqwen.eval.generative.latex_tree import NotAFormula, parse
from openqwen.eval.generative.math_answers import (
    extract_answer,
    extract_minerva,
    last_boxed,
    plain_form,
)
from openqwen.eval.generative.math_equality import MathEquality

EQUAL = [
    ("5", "5"),
    ("5", "5.0"),
    ("0.5", r"\frac{1}{2}"),
    ("1/2", r"\frac12"),
    (r"\dfrac{3}{4}", r"\tfrac{3}{4}"),
    (r"\frac{2}{4}", r"\frac{1}{2}"),
    (r"-\frac{1}{2}", r"\frac{-1}{2}"),
    (r"3\frac{1}{5}", "3.2"),
    ("3 1/5", r"\frac{16}{5}"),
    (r"-1\frac{1}{2}", "-1.5"),
    ("1,000", "1000"),
    ("1{,}000{,}000", "1000000"),
    (r"\$1,250.50", "1250.5"),
    (r"50\%", "50"),
    ("90^\\circ", "90"),
    (r"90^{\circ}", "90"),
    ("45°", "45"),
    (r"5\text{ cm}", "5"),
    (r"5\text{ cm}^2", "5"),
    ("12 inches", "12"),
    (r"3 \mathrm{ m}", "3"),
    (r"\frac{3}{8}\mbox{ feet}", "0.375"),
    (r"\text{Yes}", "yes"),
    (r"\text{even}", "even"),
    (r"\text{(C)}", "C"),
    (r"\left(1, 2\right)", "(1,2)"),
    ("(0.5, 3)", r"\left(\frac12,3\right)"),
    (r"\{1, 2, 3\}", r"\{3,2,1\}"),
    ("1, 2, 3", "3,2,1"),
    (r"1 \text{ and } 3", "1,3"),
    (r"1, 2, \text{ and } 3", "3,2,1"),
    (r"\pm 2", "2,-2"),
    (r"1 \pm \sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}"),
    ("[2,5)", r"\left[2, 5\right)"),
    (r"(-\infty, 0.5]", r"(-\infty,\frac12]"),
    (r"(-\infty,-1)\cup(1,\infty)", r"(1,\infty)\cup(-\infty,-1)"),
    (r"x \in [1,2]", "[1,2]"),
    (r"x=5", "5"),
    ("f(x) = 2x+1", "1+2x"),
    ("y = 2x + 1", "y=1+2x"),
    ("2x - y + 1 = 0", "y = 2x + 1"),
    (r"\sqrt{8}", r"2\sqrt{2}"),
    (r"\sqrt2", r"\sqrt{2}"),
    (r"\frac{1}{\sqrt{2}}", r"\frac{\sqrt{2}}{2}"),
    (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
    ("(x+1)^2", "x^2+2x+1"),
    ("x(x-1)", "x^2 - x"),
    ("2^{10}", "1024"),
    (r"2\pi", r"\pi \cdot 2"),
    (r"\frac{\pi}{4}", r"0.25\pi"),
    ("e^2", "e^{2}"),
    ("3+4i", "4i+3"),
    (r"\binom{5}{2}", "10"),
    ("5!", "120"),
    (r"\log_2 8", "3"),
    (r"\sin 30x", r"\sin(30x)"),
    (r"0.\overline{3}", r"\frac13"),
    (r"0.1\overline{6}", r"\frac{1}{6}"),
    (r"\begin{pmatrix} 1 & 2 \\ 3 & 4 \end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}"),
    (r"\begin{pmatrix} 0.5 \\ 1 \end{pmatrix}", r"\begin{pmatrix} \frac{1}{2} \\ 1 \end{pmatrix}"),
    (r"1 \le x < 5", r"1\leq x<5"),
    ("x > 3", "3 < x"),
    (r"|x-1|", r"\left|1-x\right|"),
    ("1011_2", "1011_{2}"),
    (r"\frac{x}{2} + \frac{x}{3}", r"\frac{5x}{6}"),
    (r"\sin^2 x + \cos^2 x", "1"),
    ("10 dollars", r"\$10"),
    (r"6 - 5i", "6-5i"),
    ("a+b", "b + a"),
    ("-5", "−5"),
    (r"8\sqrt{3} \text { square inches}", r"8\sqrt{3}"),
    (r"12\text{ square units}", r"12\text{ units}^2"),
    ("3 feet", r"3\text{ ft}"),
    (r"18\text{ ways}", r"18\text{ arrangements}"),
    ("9\\text{ a.m.}", "9"),
]

DIFFERENT = [
    ("1,000", "(1,000)"),
    ("(1,000)", "1000"),
    ("1", "2"),
    ("0.33", r"\frac{1}{3}"),
    ("0.333333", r"\frac{1}{3}"),
    ("3.14", r"\pi"),
    ("1.41421356", r"\sqrt{2}"),
    (r"3\frac{1}{5}", r"\frac{3}{5}"),
    ("50\\%", "0.5"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "[1,2]"),
    ("[2,5)", "(2,5]"),
    ("(1,2)", "1,2"),
    ("1,2,2", "1,1,2"),
    ("1,2", "1,2,3"),
    (r"\{1,2\}", r"\{1,2,3\}"),
    (r"\pm 2", "2"),
    ("2", r"\pm 2"),
    ("5 cm", "5 m"),
    (r"5\text{ inches}", r"5\text{ feet}"),
    (r"5\text{ cm}^2", r"5\text{ cm}^3"),
    (r"9\text{ a.m.}", r"9\text{ p.m.}"),
    (r"12\text{ units}", r"12\text{ square units}"),
    ("x=5", "y=5"),
    ("x^2", "2x"),
    ("x", "|x|"),
    (r"\sqrt{x^2}", "x"),
    ("x+1", "x"),
    ("a", "A"),
    ("2x+3", "2y+3"),
    ("y = 2x + 1", "y = 2x - 1"),
    ("10", "10_2"),
    ("1011_2", "1011_3"),
    ("12", "1 2"),
    ("x > 3", "x < 3"),
    (r"x \geq 3", "x > 3"),
    ("even", "odd"),
    (r"\text{Yes}", r"\text{No}"),
    (r"\text{(A)}", r"\text{(B)}"),
    ("dare", "read"),
    (r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}", r"\begin{pmatrix} 1 & 2 \end{pmatrix}"),
    (r"\begin{pmatrix} 1 & 2 \end{pmatrix}", r"\begin{vmatrix} 1 & 2 \end{vmatrix}"),
    (r"\frac{1}{0}", "5"),
    ("", "0"),
    ("0", ""),
    (r"\emptyset", "0"),
    (r"\infty", r"-\infty"),
    (r"\frac{1}{2}", r"\frac{2}{1}"),
    ("2^{-3}", "8"),
    ("10^{-30}", "0"),
    (r"1+10^{-20}", "1"),
    ("-1", "1"),
    ("0.5", "5"),
    ("11", "1"),
    (r"\frac{11}{2}", r"\frac{1}{2}"),
    ("1:2", "2:1"),
    ("import os", "5"),
    ("__import__('os').system('true')", "0"),
    (r"\sqrt{2}", r"\sqrt{3}"),
    ("e", r"2.718281828459045"),
    ("12,34", "1234"),
    ("{", "}"),
    (r"2\frac", "2"),
    (r"\sin^2 x + \cos^2 x", "1.0000000000000000000000001"),
    (r"\text{12 days}", "5"),
]  # fmt: skip


@pytest.fixture(scope="module")
def equality():
    with MathEquality() as found:
        yield found


@pytest.mark.parametrize(("first", "second"), EQUAL)
def test_answers_that_say_the_same_are_equal(equality, first, second):
    assert equality.same(first, second)
    assert equality.same(second, first)


@pytest.mark.parametrize(("first", "second"), DIFFERENT)
def test_answers_that_differ_are_not_taken_for_equal(equality, first, second):
    assert not equality.same(first, second)
    assert not equality.same(second, first)


def test_a_formula_that_never_ends_costs_its_time_and_no_more(equality):
    with MathEquality(cpu_s=0.5) as hasty:
        begin = time.monotonic()
        assert not hasty.same("9^{9^{9^{9^{9}}}}", "9^{9^{9^{9^{8}}}}")
        assert time.monotonic() - begin < 20
        assert hasty.num_unfinished == 1
        assert hasty.same(r"\sqrt{8}", r"2\sqrt{2}"), "a fresh child answers the next"


def test_no_text_is_evaluated():
    for text in ("__import__('os')", "x.__class__", "lambda: 1", r"\input{/etc/passwd}"):
        with pytest.raises(NotAFormula):
            parse(text + "(")
    with pytest.raises(NotAFormula, match="1000 characters"):
        parse("(" * 1001)
    with pytest.raises(NotAFormula, match="nested"):
        parse("(" * 400 + "1" + ")" * 400)


def test_the_last_box_is_found_with_its_braces():
    assert last_boxed(r"\boxed{1} and \boxed{\frac{1}{2}}.") == r"\frac{1}{2}"
    assert last_boxed(r"\fbox{a{b}c}") == "a{b}c"
    assert last_boxed(r"so \boxed 5 it is") == "5"
    assert last_boxed(r"\boxed{open") is None
    assert last_boxed("none") is None


def test_an_answer_is_found_by_minervas_sentence_then_a_box_then_by_what_is_said():
    minerva = r"… \boxed{3} Final Answer: The final answer is $\frac{1}{2}$. I hope it is correct."
    assert extract_minerva(minerva) == r"$\frac{1}{2}$"
    assert extract_answer(minerva) == r"$\frac{1}{2}$"
    assert extract_answer(r"The answer is 7, so $\boxed{8}$") == "8"
    assert extract_answer("First 3. Therefore the answer is 42.") == "42"
    assert extract_answer("The answer is 1. No: the answer is 3.5.") == "3.5"
    assert extract_answer("I do not know") is None
    assert extract_minerva(r"\boxed{3}") is None


def test_units_are_split_off_and_thousands_joined():
    assert plain_form(r"$5\text{ cm}^2$").unit == "cm^2"
    assert plain_form("12 dollars").text == "12"
    assert plain_form("12,345,678").text == "12345678"
    assert plain_form("(1,000)").text == "(1,000)"
    assert plain_form("12,34").text == "12,34"
    assert plain_form(r"\dfrac{1}{2}.").text == r"\frac{1}{2}"


def test_mixed_numbers_and_periods_are_read_as_written():
    assert parse(r"2\frac{1}{3}")[0] == "add"
    assert parse(r"2x")[0] == "mul"
    assert parse(r"0.\overline{12}") == ["div", ["num", "12"], ["num", "99"]]
