"""The review page and what comes of its marks; the whole way round on a tiny model."""

import json

import pytest
from instruct_models import Writer

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.generate import generate
from openqwen.agent.instruct.job import Job
from openqwen.agent.instruct.review import MARKS_KIND, apply_marks, sample_hash, write_review
from openqwen.agent.instruct.sample import Sample
from openqwen.agent.instruct.seeds import Seeds, Task
from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export
from openqwen.tokenizer.tokenizer import Tokenizer

PERSON = {"kind": "person", "name": "Lin"}


def samples(count=4, text="<script>fail()</script>"):
    return [
        Sample(
            f"r1-general-en-0000-{i:02}",
            "general",
            "en",
            f"Ask {i} {text}",
            [
                {"role": "user", "content": f"Ask {i} {text}"},
                {"role": "assistant", "content": f"Say {i} {text}"},
            ],
            {"round": 1},
        )
        for i in range(count)
    ]


def marks(path, rows, by=PERSON):
    path.write_text(json.dumps({"kind": MARKS_KIND, "by": by, "marks": rows}))
    return path


def mark(made, value, **more):
    return {"id": made.id, "hash": sample_hash(made), "mark": value} | more


def test_the_page_escapes_every_text_and_asks_the_network_for_nothing(tmp_path):
    write_review(tmp_path / "review.html", samples(), {"all": {"raw": 9, "kept": 4, "dropped": {}}})
    page = (tmp_path / "review.html").read_text()
    assert page.count("<script>") == 1  # the page's own
    assert "Say 0 &lt;script&gt;fail()&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert "http" not in page.replace("http-equiv", "")


def test_accepted_rejected_and_mended_samples_are_told_apart(tmp_path):
    made = samples()
    mended = ["Ask 1", "Say one."]
    first = marks(
        tmp_path / "a.json",
        [
            mark(made[0], "accept"),
            mark(made[1], "accept", contents=mended),
            mark(made[2], "reject"),
        ],
    )
    second = marks(tmp_path / "b.json", [mark(made[0], "reject"), mark(made[1], "accept")])
    accepted, account = apply_marks(made, [first, second])
    assert [s.id for s in accepted] == [made[1].id]
    assert [m["content"] for m in accepted[0].messages] == mended
    assert accepted[0].provenance["review"] == {"by": [PERSON, PERSON], "mended": True}
    assert account == {"accepted": 1, "mended": 1, "rejected": 2, "disputed": 1, "unmarked": 1}


def test_marks_of_other_samples_do_not_count(tmp_path):
    made = samples(2)
    stale = mark(made[0], "accept") | {"hash": "0" * 16}
    rows = [stale, {"id": 5}, mark(made[1], "maybe")]
    accepted, account = apply_marks(made, [marks(tmp_path / "m.json", rows)])
    assert accepted == []
    assert account == {"of other samples": 2, "not a mark": 1, "unmarked": 2}


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"kind": "else"}, "is not a file of marks"),
        ({"kind": MARKS_KIND, "by": {}, "marks": []}, "must say who marked"),
        ({"kind": MARKS_KIND, "by": PERSON, "marks": 3}, "has no list of marks"),
    ],
)
def test_a_file_that_holds_no_marks_is_refused(tmp_path, content, complaint):
    path = tmp_path / "m.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=complaint):
        apply_marks(samples(), [path])


@pytest.mark.parametrize("contents", [["one"], ["Ask", " "], ["Ask", 5], "text"])
def test_mended_texts_that_can_not_be_learnt_are_refused(tmp_path, contents):
    made = samples(1)
    path = marks(tmp_path / "m.json", [mark(made[0], "accept", contents=contents)])
    with pytest.raises(UserError, match=made[0].id):
        apply_marks(made, [path])


def write_tiny(directory):
    config = qwen_config(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=512, train_length=512
    )
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    model = new_decoder(config, seed=0)
    write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(directory)
    return directory


def made_by_writer(out):
    seeds = Seeds(
        [Task(f"s{i}", "en", f"Do the thing called {chr(97 + i) * 5}.") for i in range(9)]
    )
    config = InstructConfig(languages=("en",), num=24, batch=4, code="keep")
    generate(Job(Writer(), seeds, config), out, benchmarks=None, identity={})
    return out


def test_accept_writes_what_sft_reads_and_says_when_nobody_looked(tmp_path, capsys):
    made = made_by_writer(tmp_path / "made")
    assert main(["instruct", "review", str(made)]) == 0
    assert (made / "review.html").is_file()
    assert main(["instruct", "accept", str(made)]) == 2
    assert "give the marks that the review page saved, or --accept-all" in capsys.readouterr().err
    assert main(["instruct", "accept", str(made), "--accept-all", "--licence", "MIT"]) == 0
    rows = [json.loads(line) for line in (made / "accepted.jsonl").read_text().splitlines()]
    assert {row["provenance"]["review"] for row in rows} == {"none: --accept-all"}
    assert {row["licence"] for row in rows} == {"MIT"}
    assert main(["instruct", "accept", str(tmp_path / "none"), "--accept-all"]) == 2
    assert "openqwen instruct generate writes it" in capsys.readouterr().err


def test_a_mistake_on_the_command_line_is_one_line(tmp_path, capsys):
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"instruction": "Sing.", "output": "La."}\n')
    base = ["instruct", "generate", "nowhere", "--seeds", str(seeds), "--out", str(tmp_path / "o")]
    for more, complaint in (
        (["--set", "max_rogue=0.5"], "did you mean max_rouge?"),
        (["--set", "max_rouge"], "write KEY=VALUE"),
        (["--kind", "tools", "--tools", "python"], "keeps its state"),
        (["--kind", "tools", "--tools", "hammer"], "no tool 'hammer'"),
        (["--tools", "calculator"], "--tools and --folder go with --kind tools"),
        (["--against", str(tmp_path / "none.jsonl")], "does not exist"),
    ):
        assert main([*base, *more]) == 2
        error = capsys.readouterr().err
        assert complaint in error
        assert error.count("\n") == 1


@pytest.mark.slow
def test_a_model_trained_on_accepted_samples_writes_the_next_round(tmp_path, capsys):
    base = write_tiny(tmp_path / "base")
    made = made_by_writer(tmp_path / "made")
    assert main(["instruct", "accept", str(made), "--accept-all"]) == 0
    accepted = made / "accepted.jsonl"
    chat = tmp_path / "chat-2"
    quick = ("num_epochs=2", "sequences_per_step=2", "context_length=256", "warmup_steps=0")
    settings = [part for setting in quick for part in ("--set", f"chat.{setting}")]
    command = ["sft", str(base), "--data", str(accepted), "--out", str(chat), *settings]
    assert main(command) == 0
    assert "set aside" not in capsys.readouterr().out
    seeds = tmp_path / "seeds.jsonl"
    rows = [{"instruction": f"Do the thing {chr(97 + i) * 4}.", "output": "x"} for i in range(4)]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "made-2"
    command = ["instruct", "generate", str(chat), "--seeds", str(seeds), str(accepted)]
    command += ["--out", str(out), "--num", "4", "--languages", "en"]
    more = ["batch=2", "examples=2", "own_examples=1", "task_tokens=12", "answer_tokens=8"]
    assert main([*command, *(p for setting in more for p in ("--set", setting))]) == 0
    raw = [json.loads(line) for line in (out / "raw.jsonl").read_text().splitlines()]
    ids = [s["sample"]["id"] for row in raw for s in row["samples"]]
    assert len(ids) >= 4
    assert all(id.startswith("r2-general-en") for id in ids)
    shown = {
        e for row in raw for s in row["samples"] for e in s["sample"]["provenance"]["examples"]
    }
    assert any(id.startswith("r1-") for id in shown)  # the model's own, of the round before
    assert "of them the model's own" in capsys.readouterr().out
