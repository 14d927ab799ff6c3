"""The catalogue's lines and suites, the draw of items, and what the harness's answers become."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from openqwen.agent.models import LocalModel
from openqwen.core.errors import UserError
from openqwen.eval.measure import Setting
from openqwen.eval.responses import Remembering, Responses
from openqwen.eval.tasks.catalogue import SUITES, TASKS, resolve
from openqwen.eval.tasks.files import find_files
from openqwen.eval.tasks.info import build_task
from openqwen.eval.tasks.rows import Row, draw, item_ids


def setting(data, *, limit=None, seed=0, model=None, lm=None, out=Path("unused")):
    return Setting(
        model=model, lm=lm, out=out, responses=Responses(None), data=data, limit=limit, seed=seed
    )


def write_jsonl(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def piqa_rows(count):
    return [
        {"goal": f"open jar {i}", "sol1": f"turn lid {i}", "sol2": f"eat lid {i}", "label": i % 2}
        for i in range(count)
    ]


def test_each_line_says_where_it_is_built_and_which_suites_hold_it():
    for name, info in TASKS.items():
        assert info.name == name
        module, _, function = info.build.partition(":")
        assert module.startswith("openqwen.eval.")
        assert function
        assert set(info.suites) <= set(SUITES), name
        assert info.suites
        assert info.kind in ("harness", "measure")
        assert all(isinstance(row["value"], int | float) for row in info.published.values())


def test_the_reports_choice_tasks_have_the_reports_shots():
    shots = {"mmlu": 5, "ceval": 5, "cmmlu": 5, "commonsense_qa": 8, "agieval": 0, "arc_easy": 0}
    shots |= {"arc_challenge": 0, "boolq": 0, "nq_open": 0, "lambada": 0, "hellaswag": 0}
    shots |= {"piqa": 0, "siqa": 0, "ocnli": 0}
    assert {name: TASKS[name].shots for name in shots} == shots


def test_published_values_are_those_of_the_reports_tables():
    from openqwen.report.reported import reported

    columns = {
        "table15_exams": ("cmmlu", "agieval", None, "arc_easy", "arc_challenge"),
        "table16_knowledge": ("boolq", "commonsense_qa", "nq_open", "lambada"),
        "table17_reasoning": ("hellaswag", "piqa", "siqa", "ocnli"),
        "table2_base": ("mmlu", "ceval"),
    }
    for table, names in columns.items():
        for model in ("Qwen-1.8B", "Qwen-7B", "Qwen-14B"):
            values = reported()[table]["rows"][model]
            for name, value in zip(names, values, strict=False):
                if name is not None:
                    assert TASKS[name].published[model]["value"] == value, (name, model)
    for model in ("Qwen-Chat-1.8B", "Qwen-Chat-7B", "Qwen-Chat-14B"):
        chat = reported()["table5_chat"]["rows"][model]
        assert TASKS["mmlu"].published[model]["value"] == chat[1]
        assert TASKS["ceval"].published[model]["value"] == chat[3]


def test_suites_and_names_come_together_once_each():
    found = [info.name for info in resolve(["mmlu", "piqa", "piqa"], ["base"])]
    assert found.count("mmlu") == 1
    assert found.count("piqa") == 1
    assert found.index("mmlu") < found.index("piqa")
    assert "hellaswag" not in found
    assert {info.name for info in resolve([], ["report"])} == set(TASKS)


@pytest.mark.parametrize(
    ("names", "suites", "message"),
    [
        (["helaswag"], [], "helaswag is no task; did you mean hellaswag?"),
        (["arc-easy"], [], "arc-easy is no task; did you mean arc_easy?"),
        (["base"], [], "base is a suite: --suite base"),
        ([], ["maths"], "maths is no suite; did you mean math?"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_one(names, suites, message):
    with pytest.raises(UserError) as error:
        resolve(names, suites)
    assert str(error.value).startswith(message)


def test_reading_the_catalogue_loads_neither_torch_nor_the_harness():
    code = (
        "import sys; import openqwen.eval.tasks.info; import openqwen.eval.tasks.catalogue; "
        "print([m for m in ('torch', 'lm_eval', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_smaller_draw_is_part_of_a_larger_one_and_the_files_order_does_not_count():
    ids = [f"q{i}" for i in range(1000)]
    small = {ids[at] for at in draw(ids, 50, seed=3)}
    large = {ids[at] for at in draw(ids, 200, seed=3)}
    assert len(small) == 50
    assert len(large) == 200
    assert small < large
    backwards = ids[::-1]
    assert {backwards[at] for at in draw(backwards, 50, seed=3)} == small
    assert {ids[at] for at in draw(ids, 50, seed=4)} != small
    assert draw(ids, None, seed=3) == list(range(1000)) == draw(ids, 5000, seed=3)


def test_ids_are_made_of_what_a_row_says_and_twins_are_told_apart():
    one, other = Row("piqa", {"goal": "a"}), Row("piqa", {"goal": "b"})
    ids = item_ids([one, other, one])
    assert ids[0] != ids[1]
    assert ids[2] == f"{ids[0]}#2"
    assert item_ids([other, one])[1] == ids[0]
    assert item_ids([Row("piqa", {"goal": "a"}, id="HumanEval/3")]) == ["HumanEval/3"]


def test_files_are_found_packed_or_not_in_any_case_by_the_first_pattern_that_matches(tmp_path):
    for name in ("a/PIQA_valid.jsonl.gz", "a/piqa_train.jsonl", "b/boolq/dev.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert [p.name for p in find_files(tmp_path, r"piqa_valid\.jsonl")] == ["PIQA_valid.jsonl.gz"]
    assert find_files(tmp_path, r"nothing\.jsonl", r"boolq/dev\.jsonl")[0].name == "dev.jsonl"
    assert find_files(tmp_path / "b" / "boolq", r"boolq/dev\.jsonl")  # the folder's own name counts
    assert find_files(tmp_path, r"qa_valid\.jsonl") == []
    with pytest.raises(UserError, match="is no folder"):
        find_files(tmp_path / "missing", "x")


def test_two_models_are_asked_the_same_items_and_rows_hold_no_more_than_the_draw(tmp_path):
    pytest.importorskip("lm_eval")
    write_jsonl(tmp_path / "piqa_valid.jsonl", piqa_rows(40))
    first = build_task(TASKS["piqa"], setting(tmp_path, limit=7), 0)
    write_jsonl(tmp_path / "piqa_valid.jsonl", piqa_rows(40)[::-1])
    again = build_task(TASKS["piqa"], setting(tmp_path, limit=7), 0)

    def ids(built):
        return {built.item_id("piqa", 0, doc) for doc in built.tasks["piqa"].eval_docs}

    assert len(ids(first)) == 7
    assert ids(first) == ids(again)
    assert first.subset == "7 of the 40 questions in piqa_valid.jsonl"
    other_seed = build_task(TASKS["piqa"], setting(tmp_path, limit=7, seed=1), 0)
    assert ids(other_seed) != ids(first)


def test_without_files_the_form_that_is_read_is_named(tmp_path, monkeypatch):
    pytest.importorskip("lm_eval")
    (tmp_path / "other.jsonl").write_text("{}\n")
    with pytest.raises(UserError) as error:
        build_task(TASKS["ocnli"], setting(tmp_path), 0)
    assert "has no such file" in str(error.value)
    assert "dev.json" in str(error.value)
    with pytest.raises(UserError, match="no --data FOLDER is given"):
        build_task(TASKS["ocnli"], setting(None), 0)


def test_a_file_without_a_usable_row_is_told_and_rows_of_another_form_are_counted(tmp_path, capfd):
    pytest.importorskip("lm_eval")
    write_jsonl(tmp_path / "piqa_valid.jsonl", [{"goal": "x"}, {"goal": "y", "label": 7}])
    with pytest.raises(UserError, match=r"no usable question in piqa_valid\.jsonl"):
        build_task(TASKS["piqa"], setting(tmp_path), 0)
    write_jsonl(tmp_path / "piqa_valid.jsonl", [{"goal": "x"}, *piqa_rows(3)])
    built = build_task(TASKS["piqa"], setting(tmp_path), 0)
    assert len(built.tasks["piqa"].eval_docs) == 3
    assert built.notes == ["set aside 1: not a question of its form 1"]
    assert "piqa: set aside 1" in "".join(capfd.readouterr())


@pytest.fixture(scope="module")
def lm():
    from openqwen.infer.load import LanguageModel
    from openqwen.model.config import ModelConfig
    from openqwen.model.decoder import new_decoder
    from openqwen.tokenizer.tokenizer import Tokenizer

    config = ModelConfig(
        vocab_size=512, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, intermediate_size=64, train_length=800,
    )  # fmt: skip
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    return LanguageModel(new_decoder(config, seed=5).eval(), tokenizer)


def test_a_whole_evaluation_of_a_small_model_becomes_items_groups_and_scores(tmp_path, lm):
    pytest.importorskip("lm_eval")
    from openqwen.eval.harness.run import run_task

    rows = [
        {"subject": subject, "split": split, "question": f"{subject} {split} {i}?"}
        | {"choices": ["a", "b", "c", "d"], "answer": "ABCD"[i % 4]}
        for subject in ("anatomy", "virology", "philosophy")
        for split, count in (("dev", 1), ("test", 5))
        for i in range(count)
    ]
    write_jsonl(tmp_path / "mmlu.jsonl", rows)
    asked = setting(
        tmp_path,
        limit=9,
        lm=lm,
        out=tmp_path,
        model=Remembering(LocalModel(lm, "x"), Responses(None)),
    )
    result = run_task(TASKS["mmlu"], asked, 1)
    assert result.task == "mmlu"
    assert result.main == "acc"
    assert len(result.items) == 9 == result.metrics["acc"].n
    assert sum(group["acc"].n for group in result.groups.values()) == 9
    assert set(result.groups) <= {"STEM", "humanities", "others"}
    assert sorted(item.id for item in result.items) == sorted({item.id for item in result.items})
    item = result.items[0]
    assert set(item.output) == {" A", " B", " C", " D"}
    assert item.target in item.output
    best = max(item.output, key=item.output.get)
    assert item.answer == best
    assert item.scores["acc"] == float(best == item.target)
    assert item.prompt.startswith("The following are multiple choice questions")
    assert item.prompt.count("Answer:") == 2
    assert item.prompt.endswith("Answer:")
    assert result.metrics["acc"].value == sum(i.scores["acc"] for i in result.items) / 9
    assert result.settings["shots"] == 1
    assert result.settings["subset"].startswith("9 of the 15")
    assert result.settings["definition"]["doc_to_choice"] == ["A", "B", "C", "D"]
    json.dumps(result.as_json())


def test_written_answers_keep_the_whole_reply_and_what_was_taken_out_of_it(tmp_path, lm):
    pytest.importorskip("lm_eval")
    from openqwen.eval.harness.run import run_task

    rows = [{"question": "who wrote emma", "answer": ["Jane Austen", "Austen"]}]
    write_jsonl(tmp_path / "nq_open_dev.jsonl", rows)
    model = Remembering(LocalModel(lm, "x"), Responses(None))
    result = run_task(TASKS["nq_open"], setting(tmp_path, lm=lm, out=tmp_path, model=model), 0)
    (item,) = result.items
    assert result.main == "exact_match"
    assert item.scores["exact_match"] == 0
    assert isinstance(item.output, str)
    assert item.answer == item.output.strip()
    assert item.target == ["Jane Austen", "Austen"]


def test_several_filters_of_an_answer_are_metrics_of_one_item():
    from openqwen.eval.tasks.convert import as_result
    from openqwen.eval.tasks.info import Built, TaskInfo

    pytest.importorskip("lm_eval")

    class Task:
        def dump_config(self):
            return {"output_type": "generate_until", "doc_to_text": len}

    info = TaskInfo("sums", "", "x:y", ("math",), main_metric="exact_match,strict")
    built = Built(info, {"sums": Task()}, None, "all", 0)

    def sample(filter, taken, score):
        return {
            "doc_id": 0, "doc": {"q": 1}, "target": "4", "filter": filter,
            "arguments": [("2 + 2", {"until": ["\n"]})], "resps": [["It is 4"]],
            "filtered_resps": [taken], "metrics": ["exact_match"], "exact_match": score,
        }  # fmt: skip

    logged = {"sums": [sample("flexible", "4", 1.0), sample("strict", "[invalid]", 0.0)]}
    result = as_result(built, logged, setting(None))
    (item,) = result.items
    assert item.scores == {"exact_match,flexible": 1.0, "exact_match,strict": 0.0}
    assert item.output == "It is 4"
    assert item.answer == "[invalid]"
    assert item.id == "sums/0"
    assert "doc_to_text" not in result.settings["definition"]


def test_the_page_on_evaluation_names_every_task_and_suite():
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert [name for name in (*TASKS, *SUITES) if f"`{name}`" not in page] == []


def test_a_data_set_that_the_harness_loads_itself_is_drawn_by_its_places(tmp_path, lm, monkeypatch):
    pytest.importorskip("lm_eval")
    from lm_eval.evaluator import evaluate

    from openqwen.eval.harness.model import HarnessModel
    from openqwen.eval.tasks import building
    from openqwen.eval.tasks.convert import as_result
    from openqwen.eval.tasks.definitions import Stock

    write_jsonl(tmp_path / "rows.jsonl", piqa_rows(30))
    kept = {"data_files": {"validation": str(tmp_path / "rows.jsonl")}, "cache_dir": str(tmp_path)}
    here = {"dataset_path": "json", "dataset_kwargs": kept, "training_split": None}
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    building._hub_problem.cache_clear()
    model = Remembering(LocalModel(lm, "x"), Responses(None))
    asked = setting(None, limit=6, lm=lm, model=model)
    built = building.build_from_hub(
        TASKS["piqa"], asked, 0, Stock("piqa", {"piqa": ""}, changes=here)
    )
    places = built.samples["piqa"]
    assert places == sorted(places)
    assert len(places) == 6
    assert built.subset == "6 of the 30 questions of the hub's data set"
    found = evaluate(
        HarnessModel(lm, model, Responses(None), False),
        built.tasks,
        samples=built.samples,
        bootstrap_iters=0,
    )
    result = as_result(built, found["samples"], asked)
    assert [item.id for item in result.items] == [f"piqa/{place}" for place in places]
    for item, place in zip(result.items, places, strict=True):
        assert item.prompt == f"Question: open jar {place}\nAnswer:"
        assert item.target == f" {('turn', 'eat')[place % 2]} lid {place}"
    building._hub_problem.cache_clear()


def test_a_conversation_is_kept_as_its_messages(tmp_path, lm):
    pytest.importorskip("lm_eval")
    from openqwen.eval.harness.run import run_task

    write_jsonl(tmp_path / "piqa_valid.jsonl", piqa_rows(2))
    model = Remembering(LocalModel(lm, "x"), Responses(None))
    asked = replace(setting(tmp_path, lm=lm, out=tmp_path, model=model), is_chat=True)
    result = run_task(TASKS["piqa"], asked, 0)
    assert result.settings["prompt"] == "conversation"
    prompts = [item.prompt for item in result.items]
    assert prompts[0] == [{"role": "user", "content": "Question: open jar 0\nAnswer:"}]
    assert set(result.items[0].output) == {"turn lid 0", "eat lid 0"}
