"""What the doctor finds on a machine where something is missing or broken."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from openqwen.cli.main import VERBS, main
from openqwen.core import doctor
from openqwen.core.packages import BASE, OPTIONAL, extra_of, fix_for

ROOT = Path(__file__).parent.parent.parent
FOR_DEVELOPERS = {"dev", "docs", "bench"}
NOT_IMPORTED = {"ninja", "openqwen", "shtab"}


def hide(monkeypatch, *modules):
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def extras():
    """Return the distributions of each extra, as pyproject.toml has them."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = {"": project["dependencies"]} | project["optional-dependencies"]
    return {
        extra: {
            requirement.split(">")[0].split("=")[0].split("[")[0].strip().lower()
            for requirement in requirements
        }
        for extra, requirements in named.items()
    }


def test_the_table_of_packages_and_the_extras_say_the_same():
    found = extras()
    for package in (*BASE, *OPTIONAL):
        assert package.distribution.lower() in found[package.extra], package
    listed = {package.distribution.lower() for package in (*BASE, *OPTIONAL)}
    for extra, names in found.items():
        if extra not in FOR_DEVELOPERS:
            assert names - NOT_IMPORTED <= listed, extra


def test_each_verb_s_fix_brings_all_it_needs():
    found = extras()
    for verb, (names, modules) in doctor.NEEDS.items():
        assert verb in VERBS
        brought = set().union(*(found[name] for name in names))
        if "openqwen" in brought:
            brought |= found["agent"]
        for module in modules:
            package = next(p for p in OPTIONAL if p.module == module)
            assert package.distribution.lower() in brought, (verb, module)


def test_all_is_here_where_nothing_is_hidden(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "BROKEN" not in said
    assert "pip install" not in said
    assert "\n  avx2 " in said
    assert "\n  tokenizer   compile" in said


def test_a_hidden_package_is_named_with_the_verb_and_the_command_that_mends_it(monkeypatch, capsys):
    hide(monkeypatch, "gradio", "lm_eval")
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "  serve       lacks gradio: pip install 'openqwen[serve]'" in said
    assert "  eval        lacks lm_eval: pip install 'openqwen[eval]'" in said
    assert "gradio              missing" in said


def test_without_torch_the_installation_is_broken(monkeypatch, capsys):
    hide(monkeypatch, "torch")
    assert main(["doctor", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["broken"] == ["missing of the base install: torch: pip install openqwen"]
    assert report["torch"] == {}


def test_a_cache_that_cannot_be_written_is_broken(monkeypatch, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("OPENQWEN_CACHE", str(blocked / "cache"))
    assert main(["doctor"]) == 1
    assert "BROKEN: the cache" in capsys.readouterr().out


def test_without_a_compiler_the_way_to_one_is_told(monkeypatch, capsys):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert main(["doctor"]) == 0
    assert "c++ no, ninja" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("module", "fix"),
    [
        ("gradio", "pip install 'openqwen[serve]'"),
        ("lm_eval.api", "pip install 'openqwen[eval]'"),
        ("rustbpe", "pip install 'openqwen[data]'"),
        ("zmq", "pip install 'openqwen[agent]'"),
        ("wandb", "pip install wandb"),
        ("torch", "pip install openqwen"),
    ],
)
def test_a_missing_module_is_mended_by_the_extra_that_has_it(module, fix):
    assert fix_for(module) == fix


def test_a_verb_whose_package_is_missing_says_the_extra_in_one_line(monkeypatch, capsys, tmp_path):
    hide(monkeypatch, "jinja2")
    (tmp_path / "kept.jsonl").write_text("")
    (tmp_path / "funnel.json").write_text("{}")
    assert main(["instruct", "review", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == "openqwen: this needs the package jinja2: pip install 'openqwen[data]'\n"
    assert extra_of("jinja2") == "data"
