"""Each stage as a verb of its own, on a user's files, one after the other."""

import json

import pytest

from openqwen.cli.main import main
from openqwen.core.lock import locked


def test_the_verbs_chain_on_own_files(corpus, small_recipe, tmp_path, capsys):
    out = {name: tmp_path / name for name in ("corpus", "tok", "shards", "base", "o.json")}
    documents, recipe = f"--documents {out['corpus']}", f"--recipe {small_recipe}"
    inputs = f"--shards {out['shards']} --tokenizer {out['tok']}"
    verbs = [
        f"data build --in {corpus} --out {out['corpus']} {recipe}",
        f"tokenizer train {documents} --out {out['tok']} {recipe}",
        f"shards {documents} --tokenizer {out['tok']} --out {out['shards']} {recipe}",
        f"pretrain {small_recipe} {inputs} --out {out['base']} --set base.num_steps=4",
        f"longcontext {out['base']} --text {corpus / 'argparse.py'} --lengths 32 64 --trials 0"
        f" --out {out['o.json']}",
    ]
    for verb in verbs[:-1]:
        assert main(verb.split()) == 0, verb
    assert not (out["base"] / ".lock").exists()
    (out["base"] / "started.json").write_text("{}")  # as if another process were still at work
    with locked(out["base"]):
        assert main(verbs[3].split()) == 2
    assert f"{out['base']} is in use by another openqwen process" in capsys.readouterr().err
    (out["base"] / "started.json").unlink()
    assert main(verbs[-1].split()) == 0
    said = capsys.readouterr().out
    assert "n = 1 documents of 64 tokens" in said
    assert json.loads((tmp_path / "o.json").read_text())["lengths"] == [32, 64]


@pytest.mark.parametrize("name", ["documents", "somewhere"])
def test_a_directory_of_another_stage_is_refused(finished_tokenizer, name, tmp_path, capsys):
    wrong = tmp_path / name  # the folder's name proves nothing
    finished_tokenizer.rename(wrong)
    assert (
        main(["tokenizer", "train", "--documents", str(wrong), "--out", str(tmp_path / "o")]) == 2
    )
    assert "holds no finished documents stage" in capsys.readouterr().err


@pytest.fixture
def finished_tokenizer(tmp_path):
    """A directory with the manifest of a tokenizer stage."""
    from openqwen.core.manifest import Manifest

    directory = tmp_path / "made"
    directory.mkdir()
    facts = {"recipe": "tiny", "recipe_hash": "h", "inputs": {}, "settings": {}, "outputs": {}}
    facts |= {"counts": {}, "seconds": 1.0, "peak_memory_bytes": 1, "seed": 0}
    Manifest(stage="tokenizer", versions={}, host={}, **facts).write(directory)
    return directory
