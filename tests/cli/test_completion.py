"""The completion scripts: read by their shells; bash's asked as Tab would ask it."""

import shutil
import subprocess

import pytest

from openqwen.cli.main import main


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return tmp_path_factory.mktemp("completion")


def script(shell, capsys, folder):
    assert main(["completion", shell]) == 0
    path = folder / shell
    path.write_text(capsys.readouterr().out)
    return path


def completed(path, words, folder):
    """Return what bash offers for the last of some words."""
    typed = " ".join(f"'{word}'" for word in words)
    code = f"""
source {path}
COMP_WORDS=({typed}); COMP_CWORD={len(words) - 1}; COMP_LINE="{" ".join(words)}"
COMP_POINT=${{#COMP_LINE}}
function=$(complete -p openqwen | sed 's/.*-F \\([^ ]*\\).*/\\1/')
$function openqwen "{words[-1]}" "{words[-2]}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", code], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this machine")
def test_bash_completes_verbs_actions_options_choices_and_files(scripts, capsys, tmp_path):
    path = script("bash", capsys, scripts)
    (tmp_path / "mine.jsonl").write_text("")
    (tmp_path / "folder").mkdir()
    assert completed(path, ["openqwen", "pre"], tmp_path) == {"pretrain", "preferences"}
    assert completed(path, ["openqwen", "data", "de"], tmp_path) == {"dedup", "decontaminate"}
    assert "--show-masks" in completed(path, ["openqwen", "sft", "--sh"], tmp_path)
    assert "int4" in completed(path, ["openqwen", "chat", "--quantize", "int"], tmp_path)
    offered = completed(path, ["openqwen", "sft", "--data", "m"], tmp_path)
    assert any("mine.jsonl" in word for word in offered), offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_take_their_script(shell, scripts, capsys):
    path = script(shell, capsys, scripts)
    assert "pretrain" in path.read_text()
    if shutil.which(shell):
        subprocess.run([shell, "-n", str(path)], check=True)
