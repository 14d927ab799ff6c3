import json

import pytest
import torch

from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.eval.collect import (
    Candidate,
    Duel,
    pair_answers,
    parse_sampling,
    read_duels,
    read_votes,
    write_duels,
    write_vote_page,
)
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.scorer import scorer_from
from openqwen.train.pretrain import export

PROMPTS = [[{"role": "user", "content": f"Q{i}"}] for i in range(6)]


def candidates():
    found = [Candidate(i, f"a{i}", "one", "t=1") for i in range(6)]
    found += [Candidate(i, f"b{i}", "two", "t=1") for i in range(5)]
    return [*found, Candidate(5, "a5", "two", "t=1"), Candidate(0, "c0", "one", "t=0.5")]


def test_answers_of_different_models_are_paired_and_sides_are_drawn():
    duels = pair_answers(candidates(), PROMPTS, seed=0)
    assert [d.prompt for d in duels] == PROMPTS[:5]  # the sixth got one answer twice
    assert all({d.left.model, d.right.model} == {"one", "two"} for d in duels)
    assert len({d.left.model for d in duels}) == 2
    assert pair_answers(candidates(), PROMPTS, seed=0) == duels


def duel(id, text="<script>alert(1)</script>"):
    prompt = [{"role": "user", "content": text}]
    return Duel(id, prompt, Candidate(0, f"L{id}", "m1", "s"), Candidate(0, f"R{id}", "m2", "s"))


def test_votes_become_pairs_by_majority(tmp_path):
    duels = [duel("a"), duel("b"), duel("c")]
    write_duels(tmp_path / "duels.jsonl", duels)
    assert read_duels(tmp_path / "duels.jsonl") == duels
    files = []
    for i, votes in enumerate(
        ({"a": "left", "b": "tie"}, {"a": "left", "c": "right"}, {"a": "right"})
    ):
        files.append(tmp_path / f"{i}.json")
        files[-1].write_text(json.dumps({"kind": "openqwen votes", "votes": votes}))
    rows, counts = read_votes(duels, files)
    assert [(r["chosen"], r["rejected"], r["models"]) for r in rows] == [
        ("La", "Ra", ["m1", "m2"]),
        ("Rc", "Lc", ["m2", "m1"]),
    ]
    assert counts == {"votes": 5, "ties": 1, "skips": 0, "judged": 2, "shared": 1, "agreed": 0}


def test_a_person_s_vote_on_a_pair_counts_once_however_many_files_hold_it(tmp_path):
    files = []
    for name, choice in (("Lin", "left"), ("Lin", "right"), ("Wang", "right")):
        files.append(tmp_path / f"{len(files)}.json")
        by = {"kind": "person", "name": name}
        content = {"kind": "openqwen votes", "by": by, "votes": {"a": choice}}
        files[-1].write_text(json.dumps(content))
    rows, counts = read_votes([duel("a")], files)
    assert [row["chosen"] for row in rows] == ["Ra"]
    assert (counts["votes"], counts["agreed"]) == (2, 1)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"votes": {}}, "is no file of votes"),
        ({"kind": "openqwen votes", "votes": {"a": "both"}}, "vote 'both' on a"),
        ({"kind": "openqwen votes", "votes": {"z": "left"}}, "there is no pair 'z'"),
    ],
)
def test_bad_votes_are_refused_in_one_line(tmp_path, content, complaint):
    (tmp_path / "v.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=complaint):
        read_votes([duel("a")], [tmp_path / "v.json"])


def test_a_sampling_is_read_or_refused():
    assert parse_sampling("temperature=0.7,top_p=0.9").top_p == 0.9
    for text in ("temperature=hot", "temprature=1", "top_p=2"):
        with pytest.raises(UserError, match="--sampling"):
            parse_sampling(text)


def test_the_verb_collects_for_people_and_by_a_reward_model(tmp_path, byte_tokenizer, capsys):
    shape = qwen_config(
        hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=512, train_length=64
    )
    for name in ("one", "two"):
        model = new_decoder(shape, seed=len(name) + ord(name[0]))
        export(tmp_path / name, model, byte_tokenizer, dtype=torch.float32, lineage_hash="")
    scorer = scorer_from(model, seed=1)
    export(tmp_path / "rm", scorer, byte_tokenizer, dtype=torch.float32, lineage_hash="")
    talks = tmp_path / "talks.jsonl"
    rows = [{"instruction": f"Say {i}", "output": "ok"} for i in range(5)]
    talks.write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ["preferences", "collect", "--models", str(tmp_path / "one"), str(tmp_path / "two")]
    command += ["--prompts", str(talks), "--num", "4", "--max-new-tokens", "5"]
    assert main([*command, "--out", str(tmp_path / "votes")]) == 0
    page = (tmp_path / "votes" / "vote.html").read_text()
    assert str(tmp_path) not in page  # the page does not tell which model answered
    assert (
        main([*command, "--judge", f"model:{tmp_path / 'rm'}", "--out", str(tmp_path / "j")]) == 0
    )
    judged = [json.loads(line) for line in (tmp_path / "j" / "pairs.jsonl").open()]
    assert judged
    scorer = scorer_from(model, seed=1)
    assert all(row["score_chosen"] > row["score_rejected"] for row in judged)
    assert isinstance(scorer.score.weight, torch.Tensor)
    assert main([*command, "--judge", "oracle", "--out", str(tmp_path / "k")]) == 2
    assert "write page or model:DIR" in capsys.readouterr().err


@pytest.mark.slow
def test_voting_in_a_browser(browser, tmp_path):
    duels = [duel("a"), duel("b"), duel("c", "你好")]
    write_vote_page(tmp_path / "vote.html", duels)
    page = browser.new_page()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("dialog", lambda dialog: pytest.fail("a text ran as a script"))
    page.goto((tmp_path / "vote.html").as_uri())
    shown = page.locator("section:visible .prompt").inner_text()
    assert shown.endswith("<script>alert(1)</script>")
    page.keyboard.press("2")
    page.keyboard.press("3")
    page.keyboard.press("k")
    page.get_by_role("button", name="left").click()
    page.keyboard.press("s")
    assert page.locator("#end").is_visible()
    with page.expect_download() as download:
        page.locator("#save").click()
    download.value.save_as(tmp_path / "votes.json")
    saved = json.loads((tmp_path / "votes.json").read_text())
    assert saved["votes"] == {"a": "right", "b": "left", "c": "skip"}
    assert all(url.startswith(("file:", "blob:")) for url in asked)
    rows, _ = read_votes(duels, [tmp_path / "votes.json"])
    assert [row["chosen"] for row in rows] == ["Ra", "Lb"]
