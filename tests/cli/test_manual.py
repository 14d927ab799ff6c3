"""Help as a manual page gives it: every verb and action described, with an example that parses."""

import argparse
import importlib
import re
import shlex
import sys

import pytest

from openqwen.cli.main import VERBS, build_parser


def parsers_below(parser, path=()):
    """Yield path and parser of every verb and action."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                yield (*path, name), inner
                yield from parsers_below(inner, (*path, name))


PARSERS = dict(parsers_below(build_parser()))


def examples_of(parser):
    """Return the command lines of a manual, continued lines joined, redirections cut."""
    text = parser.epilog.split("exit codes:")[0].replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()[1:] if line.strip()]
    plain = [re.sub(r'"\$\(.*\)"', "made-by-another-command", line) for line in lines]
    return [shlex.split(re.split(r"\s[>|]\s", line)[0], comments=True) for line in plain]


@pytest.mark.parametrize("name", VERBS)
def test_the_list_of_verbs_says_what_each_module_says(name):
    module = importlib.import_module(f"openqwen.cli.{name}")
    assert name == module.NAME
    assert VERBS[name] == module.HELP


@pytest.mark.parametrize("path", PARSERS, ids=" ".join)
def test_a_manual_has_a_description_an_example_and_exit_codes(path):
    parser = PARSERS[path]
    assert len(parser.description) > 20
    assert "exit codes:" in parser.epilog
    assert "see docs/" in parser.epilog
    assert any(tuple(words[1 : len(path) + 1]) == path for words in examples_of(parser))


@pytest.mark.parametrize("path", PARSERS, ids=" ".join)
def test_every_argument_says_what_it_is_for(path):
    for action in PARSERS[path]._actions:
        assert action.help, f"{action.option_strings or action.dest} has no help"


@pytest.mark.parametrize("path", PARSERS, ids=" ".join)
def test_many_options_are_grouped(path):
    for group in PARSERS[path]._action_groups:
        if group.title != "the server":  # its settings are one list
            assert len(group._group_actions) <= 12, group.title


@pytest.mark.parametrize("path", PARSERS, ids=" ".join)
def test_a_default_that_is_not_nothing_is_told(path):
    for action in PARSERS[path]._actions:
        is_plain = isinstance(action.default, int | float | str) and action.nargs != 0
        if is_plain and action.default not in ("", argparse.SUPPRESS):
            told = action.help % {"default": action.default}
            numbers = told.replace(",", "")
            assert str(action.default) in (told, numbers)[isinstance(action.default, int)]


@pytest.mark.parametrize("path", PARSERS, ids=" ".join)
def test_every_example_is_a_command_line_that_parses(path, capsys):
    parser = build_parser()
    for words in examples_of(PARSERS[path]):
        if words[0] == "torchrun":
            words = words[words.index("openqwen") :]
        assert words[0] == "openqwen", words
        parser.parse_args(words[1:])


def test_only_the_verb_that_is_asked_for_is_imported():
    import subprocess

    code = (
        "import sys; from openqwen.cli.main import build_parser; build_parser('recipe');"
        "here = {m for m in sys.modules if m.startswith('openqwen.cli.')};"
        "assert 'openqwen.cli.recipe' in here, here;"
        "assert not {'openqwen.cli.plan', 'openqwen.cli.chat', 'openqwen.cli.run'} & here, here"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
