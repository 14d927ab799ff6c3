"""`openqwen longcontext` on a small model of any origin: texts, choices, pictures, going on."""

import json

import pytest

from openqwen.cli.main import main
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def model(tmp_path, byte_tokenizer):
    shape = qwen_config(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=512,
        train_length=128,
    )  # fmt: skip
    tokenizer = byte_tokenizer
    write_export(
        tmp_path / "model",
        new_decoder(shape, seed=0),
        stop_ids=tokenizer.stop_ids,
        eos_id=tokenizer.eos_id,
    )
    tokenizer.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def books(tmp_path):
    path = tmp_path / "books.jsonl"
    words = [
        "The grass is green and the sky is blue. " * 20,
        "short",
        "One more day went by. " * 40,
    ]
    path.write_text("\n".join(json.dumps({"id": str(i), "text": t}) for i, t in enumerate(words)))
    return path


def test_rows_grid_and_pictures_of_a_model_and_going_on_with_what_is_kept(
    model, books, tmp_path, capsys
):
    out, picture = tmp_path / "out", tmp_path / "grid.png"
    command = f"longcontext {model} --text {books} --lengths 64 128 256 512 --dtype float32"
    command += " --methods ntk+logn+windows truncated --windows 32 256 --passkey-lengths 128 512"
    command += f" --depths 0 1 --trials 2 --out {out} --plot {picture}"
    assert main(command.split()) == 0
    said = capsys.readouterr()
    assert "context 128 tokens" in said.err
    # up to the training length both methods of the grid are the model, so two cells are shared
    assert "3 rows at 4 lengths on 2 documents of 512 tokens, 6 passkey cells of 2" in said.out
    lines = said.out.splitlines()
    names = ["no method", "+ dynamic NTK + LogN + windows", "control: truncated context"]
    assert all(any(line.startswith(name) for line in lines) for name in names)
    header = next(line for line in lines if line.startswith("passkeys right of 2"))
    assert header.split()[-2:] == ["0%", "100%"]
    results = json.loads((out / "results.json").read_text())
    assert [row["method"] for row in results["rows"]] == names
    assert {cell["length"] for cell in results["passkey"]} == {128, 512}
    for path in (picture, out / "passkeys.png", out / "perplexity.png"):
        assert path.read_bytes()[:8] == PNG
    before = (out / "kept.jsonl").read_text()
    (out / "results.json").unlink()
    assert main(command.split()) == 0
    assert "100% kept from before" in capsys.readouterr().out
    assert (out / "kept.jsonl").read_text() == before
    assert json.loads((out / "results.json").read_text()) == results
    assert main([*command.split(), "--seed", "7"]) == 2
    assert "holds measures of another seed" in capsys.readouterr().err


def test_mistakes_are_one_line(model, books, tmp_path, capsys):
    command = ["longcontext", str(model), "--text", str(books)]
    for arguments, message in (
        (["--windows", "64", "32"], "window_shares must grow"),
        (["--depths", "2"], "passkey_depths must lie between 0 and 1"),
        (["--text", str(tmp_path / "nowhere")], "nowhere: no such file"),
        (["--lengths", "4096"], "the longest held-out document has"),
    ):
        assert main([*command, *arguments]) == 2
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--methods", "yarn"])
    assert "invalid choice: 'yarn'" in capsys.readouterr().err
