"""The eval verb: measured once, kept, gone on with, compared item by item, marked where trained."""

import json
import shutil

import pytest

from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.eval.compare import compare_runs, difference
from openqwen.eval.responses import Responses
from openqwen.eval.results import Item, Score, TaskResult, read_result, write_result
from openqwen.model.config import ModelConfig
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export
from openqwen.tokenizer.tokenizer import Tokenizer

pytest.importorskip("lm_eval", reason="the harness is not installed: pip install openqwen[eval]")

CONFIG = ModelConfig(
    vocab_size=512, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
    num_key_value_heads=2, head_dim=16, intermediate_size=64, train_length=400,
)  # fmt: skip
GOALS = ("open a jar", "dry wet shoes", "cut a cake in equal parts", "keep a door from closing")


def export(folder, seed):
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    model = new_decoder(CONFIG, seed=seed)
    write_export(folder, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [export(folder / name, seed) for seed, name in enumerate(("one", "two"))]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rows = [
        {"goal": f"{goal}, attempt {i}", "sol1": f"with a tool {i}", "sol2": "not at all"}
        | {"label": i % 2}
        for i, goal in enumerate(GOALS * 3)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "piqa_valid.jsonl").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def measured(models, data, tmp_path_factory):
    """Both models measured on ten drawn items."""
    folder = tmp_path_factory.mktemp("measured")
    for model in models:
        assert main(command(model, data, folder / model.name)) == 0
    return folder


def command(model, data, out, *more):
    options = ["--tasks", "piqa", "--data", str(data), "--limit", "10", "--out", str(out)]
    return ["eval", str(model), *options, "--dtype", "float32", *more]


def test_results_hold_prompts_settings_versions_and_every_item(measured):
    results = json.loads((measured / "one" / "results.json").read_text())
    task = results["tasks"]["piqa"]
    assert task["metrics"]["acc"]["n"] == 10
    assert task["settings"]["seed"] == 0
    assert task["settings"]["limit"] == 10
    assert results["versions"]["lm_eval"]
    assert "parameters" in results["loaded_as"]
    items = read_result(measured / "one", "piqa").items
    assert len({item.id for item in items}) == 10
    assert all("attempt" in item.prompt and item.scores.keys() >= {"acc"} for item in items)
    share = sum(item.scores["acc"] for item in items) / 10
    assert task["metrics"]["acc"]["value"] == pytest.approx(share)
    low, high = task["metrics"]["acc"]["interval"]
    assert 0 <= low < share < high <= 1 or share in (low, high)
    assert "| piqa | acc |" in (measured / "one" / "results.md").read_text()


def test_a_finished_task_is_not_measured_again(measured, models, data, capsys):
    before = (measured / "one" / "piqa.items.jsonl").stat().st_mtime_ns
    assert main(command(models[0], data, measured / "one")) == 0
    assert "measured before" in capsys.readouterr().out
    assert (measured / "one" / "piqa.items.jsonl").stat().st_mtime_ns == before


def test_a_killed_run_computes_only_what_it_lacks(measured, models, data, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(measured / "one", out)
    whole = read_result(out, "piqa")
    (out / "piqa.done.json").unlink()
    lines = (out / "responses.jsonl").read_text().splitlines(keepends=True)
    kept = lines[: len(lines) // 2]
    (out / "responses.jsonl").write_text("".join(kept) + lines[-1][:20])  # torn by the kill
    assert main(command(models[0], data, out)) == 0
    found = (out / "responses.jsonl").read_text().splitlines(keepends=True)
    assert found[: len(kept)] == kept
    assert len(found) == len(lines)
    again = read_result(out, "piqa")
    assert [item.scores for item in again.items] == [item.scores for item in whole.items]


def test_tasks_of_several_runs_stand_in_one_file(measured, models, data, tmp_path):
    out = tmp_path / "both"
    shutil.copytree(measured / "one", out)
    rows = [{"query": "2 + 3 =", "response": "5"}, {"query": "4 * 2 =", "response": "8"}]
    (tmp_path / "math").mkdir()
    (tmp_path / "math" / "math401.json").write_text(
        "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8"
    )
    options = ["--tasks", "math401", "--data", str(tmp_path / "math"), "--out", str(out)]
    assert main(["eval", str(models[0]), *options, "--dtype", "float32"]) == 0
    assert set(json.loads((out / "results.json").read_text())["tasks"]) == {"piqa", "math401"}


def test_another_models_directory_is_refused(measured, models, data, capsys):
    assert main(command(models[1], data, measured / "one")) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "holds results of" in line
    assert line.endswith("name another directory")


def test_two_runs_are_compared_item_by_item(measured, capsys):
    capsys.readouterr()
    assert main(["eval", "compare", str(measured / "one"), str(measured / "two")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("| task | metric | n |")
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:3] == ["piqa", "acc", "10"]
    (found,) = compare_runs(measured / "one", measured / "two")
    ones, twos = (read_result(measured / name, "piqa").items for name in ("one", "two"))
    second = {item.id: item.scores["acc"] for item in twos}
    gaps = [second[item.id] - item.scores["acc"] for item in ones]
    assert found.mean == pytest.approx(sum(gaps) / 10)
    assert (found.better, found.worse) == (gaps.count(1.0), gaps.count(-1.0))
    (same,) = compare_runs(measured / "one", measured / "one")
    assert same.mean == same.half_width == 0
    assert not same.is_measurable
    assert same.row()[-1] == "no measurable difference"


def test_items_that_training_texts_hold_are_marked_and_the_clean_score_is_told(
    models, data, tmp_path, capsys
):
    rows = [json.loads(line) for line in (data / "piqa_valid.jsonl").read_text().splitlines()]
    goals = ["how to boil an egg so that its yolk stays soft and its white is set all the way"]
    rows.append({"goal": goals[0], "sol1": "six minutes in hot water", "sol2": "no", "label": 0})
    own = tmp_path / "data"
    own.mkdir()
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (own / "piqa_valid.jsonl").write_text(text, encoding="utf-8")
    trained = tmp_path / "trained.jsonl"
    leak = f"As everybody knows about {goals[0]}, one must wait. " * 2
    clean = "A page about gardens, and what grows in them from spring to autumn. " * 5
    documents = [{"id": "a", "text": leak}, {"id": "b", "text": clean}]
    trained.write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    out = tmp_path / "out"
    options = ["--tasks", "piqa", "--data", str(own), "--out", str(out)]
    assert main(["eval", str(models[0]), *options, "--trained-on", str(trained)]) == 0
    items = read_result(out, "piqa").items
    assert [goals[0] in item.prompt for item in items] == [i.is_contaminated for i in items]
    assert sum(bool(item.is_contaminated) for item in items) == 1
    results = json.loads((out / "results.json").read_text())
    assert results["tasks"]["piqa"]["clean_metrics"]["acc"]["n"] == len(rows) - 1
    assert "on clean items" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--tasks", "piqqa"], "piqqa is no task; did you mean piqa?"),
        (["--tasks", "piqa", "--limit", "0"], "--limit must be at least 1, got 0"),
        (["--tasks", "piqa", "--data", "missing"], "name one folder with benchmark files"),
        ([], "name --tasks or a --suite"),
        (["--tasks", "piqa", "--shots", "-1"], "--shots must be at least 0, got -1"),
        (["--tasks", "piqa", "--trained-on", "missing"], "--trained-on missing does not exist"),
        (["--tasks", "piqa", "--max-tokens", "9"], "--max-tokens goes with the reward suite"),
        (["--tasks", "safety", "--shots", "2"], "--shots says nothing to safety"),
        (["--suite", "reward"], "--data FILES is missing"),
        (["--suite", "reward", "--trained-on", "x"], "--trained-on says nothing to the reward"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(models, tmp_path, capsys, arguments, complaint):
    code = main(["eval", str(models[0]), "--out", str(tmp_path / "x"), *arguments])
    error = capsys.readouterr().err.splitlines()
    assert code == 2
    assert complaint in error[-1]
    assert len(error) <= 2  # the model's own line may come before


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["list", "--tasks", "piqa"], "--tasks says nothing to eval list"),
        (["list", "piqa"], "list takes nothing else, got piqa"),
        (["compare", "a", "b", "--limit", "3"], "--limit says nothing to eval compare"),
        (["compare", "a"], "compare takes two directories"),
        (["compare", "a", "b"], "a has no results.json"),
    ],
)
def test_list_and_compare_take_no_option_that_they_would_ignore(capsys, words, complaint):
    assert main(["eval", *words]) == 2
    assert complaint in capsys.readouterr().err


def test_a_file_in_the_place_of_the_directory_is_one_line(models, tmp_path, capsys):
    (tmp_path / "file").write_text("kept")
    words = ["--tasks", "safety", "--limit", "1", "--out", str(tmp_path / "file")]
    assert main(["eval", str(models[0]), *words]) == 2
    assert "file" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "file").read_text() == "kept"


def test_a_suite_goes_on_past_what_it_has_no_data_for(models, data, tmp_path, capsys):
    out = tmp_path / "math"
    command = ["eval", str(models[0]), "--suite", "math", "--data", str(data), "--out", str(out)]
    assert main([*command, "--limit", "1"]) == 0
    missing = json.loads((out / "results.json").read_text())["not_measured"]
    assert "math23k" in missing
    assert "not measured" in capsys.readouterr().err


def test_shares_have_wilsons_interval_and_means_have_students():
    share = Score.of([1, 0, 1, 1])
    assert share.value == 0.75
    assert share.interval == pytest.approx((0.3006, 0.9544), abs=1e-4)
    mean = Score.of([1.5, 2.5, 2.0])
    assert mean.interval == pytest.approx((2 - 1.2421, 2 + 1.2421), abs=1e-3)
    assert not mean.is_share
    assert Score.of([0.25, 0.5]).is_share


def test_a_result_reads_back_as_it_was_written(tmp_path):
    items = [Item("a", "p", "t", "o", None, {"m": 1.0}, "g", True, "own text")]
    result = TaskResult("x", "m", {"m": Score(1.0, 1, 0.5, (0.2, 1.0))}, items, {"shots": 5})
    write_result(tmp_path, result)
    read = read_result(tmp_path, "x")
    assert read.items == items
    assert read.settings == {"shots": 5}
    assert read.metrics["m"].value == 1.0
    assert tuple(read.metrics["m"].interval) == (0.2, 1.0)


def test_items_in_one_run_only_are_left_out_and_none_in_common_is_no_difference():
    def item(name, score):
        return Item(name, "", "", "", None, {"m": score})

    found = difference("x", "m", [item("a", 0), item("b", 1)], [item("b", 0), item("c", 1)])
    assert (found.n, found.mean, found.worse) == (1, -1.0, 1)
    assert difference("x", "m", [item("a", 0)], [item("b", 0)]) is None


def test_runs_without_a_common_task_are_told(measured, tmp_path):
    with pytest.raises(UserError, match=r"no results\.json"):
        compare_runs(measured / "one", tmp_path)


def test_a_line_torn_by_a_kill_is_dropped_and_the_next_is_whole(tmp_path):
    path = tmp_path / "r.jsonl"
    store = Responses(path)
    store.keep("a", {"x": 1})
    with path.open("a") as file:
        file.write('{"key": "b", "val')
    again = Responses(path)
    assert again.find("a") == {"x": 1}
    assert again.find("b") is None
    again.keep("c", 2)
    assert Responses(path).find("c") == 2
