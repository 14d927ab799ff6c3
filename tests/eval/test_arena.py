"""Preference evaluation: blind ballots, votes in SQLite, wins, agreement and ratings."""

import json
import math
import random
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openqwen.agent.models import Reply
from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.eval.arena.agreement import agreement
from openqwen.eval.arena.ballots import (
    PAGE_KIND,
    PAGE_NAME,
    Ballot,
    Prompt,
    make_ballots,
    read_ballots,
    read_prompts,
    write_ballots,
)
from openqwen.eval.arena.judges import ranks_of, votes_of_chat_model
from openqwen.eval.arena.ratings import Game, bradley_terry, elo, games_of, intervals
from openqwen.eval.arena.table import against
from openqwen.eval.arena.votes import VOTES_NAME, Vote, open_votes, read_page_votes

MODELS = ("alpha-model", "beta-model", "gamma-model")


def prompts(count=6):
    topics = ("writing", "reasoning")
    return [
        Prompt(f"p{i}", topics[i % 2], [{"role": "user", "content": f"<b>question {i}</b>"}])
        for i in range(count)
    ]


def ballots(count=6):
    answers = {m: [f"{m[0]} says {i} <script>1</script>" for i in range(count)] for m in MODELS}
    return make_ballots(prompts(count), answers, seed=3)


def games(played, *, ballot=None):
    """Games of (first, second, score)."""
    return [
        Game(ballot or f"b{i}", "", "x", first, second, score)
        for i, (first, second, score) in enumerate(played)
    ]


def test_the_page_hides_who_wrote_what_and_shows_texts_as_texts(tmp_path):
    made = ballots()
    write_ballots(tmp_path, made)
    page = (tmp_path / PAGE_NAME).read_text(encoding="utf-8")
    assert not any(model in page for model in MODELS)
    assert "&lt;b&gt;question 0&lt;/b&gt;" in page
    assert "<script>1" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert read_ballots(tmp_path) == made
    assert len({tuple(ballot.models) for ballot in ballots(40)}) == 6  # all orders come up
    for ballot in made:
        assert [text[0] for text in ballot.answers] == [model[0] for model in ballot.models]


def test_prompts_are_drawn_evenly_over_topics_and_rows_without_one_set_aside(tmp_path):
    rows = [{"prompt": f"q{i}", "topic": "common"} for i in range(20)]
    rows += [{"instruction": "do", "input": "this", "topic": "rare"}, {"other": 1}]
    rows += [
        {"messages": [{"role": "user", "content": "m"}, {"role": "assistant", "content": "a"}]}
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    set_aside = SetAside()
    found = read_prompts([path], num=4, seed=0, set_aside=set_aside)
    assert sorted(p.topic for p in found) == ["", "common", "common", "rare"]
    assert next(p for p in found if p.topic == "rare").messages[0]["content"] == "do\nthis"
    assert next(p for p in found if p.topic == "").messages == [{"role": "user", "content": "m"}]
    assert set_aside.counts == {"no prompt in it": 1}
    assert read_prompts([path], num=4, seed=0, set_aside=SetAside()) == found


def test_one_model_is_no_comparison():
    with pytest.raises(UserError, match="name 2 to 8 different models, got 1"):
        make_ballots(prompts(), {"a": ["x"] * 6}, seed=0)


def page_file(path, **changes):
    data = {"kind": PAGE_KIND, "annotator": "Lin", "ranks": {"00000": [1, 2, 2]}} | changes
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def test_votes_are_kept_in_sqlite_the_last_of_an_annotator_counts(tmp_path):
    made = ballots()
    first = read_page_votes(page_file(tmp_path / "a.json"), made)
    again = read_page_votes(page_file(tmp_path / "b.json", ranks={"00000": [3, 1, 2]}), made)
    with open_votes(tmp_path / VOTES_NAME) as votes:
        assert votes.add(first) == 1
        assert votes.add(again) == 1
        assert votes.add([Vote("00001", "model:rm", "model", [1, 1, 1])]) == 2
    with open_votes(tmp_path / VOTES_NAME) as votes:
        assert votes.all() == [
            Vote("00000", "Lin", "person", [3, 1, 2]),
            Vote("00001", "model:rm", "model", [1, 1, 1]),
        ]
    rows = sqlite3.connect(tmp_path / VOTES_NAME).execute("SELECT kind FROM votes").fetchall()
    assert sorted(rows) == [("model",), ("person",)]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"kind": "other"}, "is no file of ranks"),
        ({"annotator": " "}, "nobody's name stands in it"),
        ({"ranks": {"9": [1, 2, 3]}}, "there is no ballot '9'"),
        ({"ranks": {"00000": [1, 2]}}, "needs 3 ranks of 1 to 3"),
        ({"ranks": {"00000": [0, 2, 3]}}, "needs 3 ranks of 1 to 3"),
        ({"ranks": {}}, "holds no vote"),
    ],
)
def test_a_file_of_other_votes_is_one_line(tmp_path, changes, complaint):
    with pytest.raises(UserError, match=complaint):
        read_page_votes(page_file(tmp_path / "v.json", **changes), ballots())


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / VOTES_NAME).write_text("not a database, and long enough to be looked at " * 9)
    with pytest.raises(UserError, match="not a database"), open_votes(tmp_path / VOTES_NAME):
        pass


def test_ranks_become_games_between_every_two_answers():
    made = [Ballot("0", "t", [], ["a", "b", "c"], ["x", "y", "z"])]
    found = games_of(made, [Vote("0", "Lin", "person", [2, 1, 2])])
    assert [(g.first, g.second, g.score) for g in found] == [
        ("a", "b", 0.0),
        ("a", "c", 0.5),
        ("b", "c", 1.0),
    ]


def test_bradley_and_terrys_ratings_give_the_odds_that_were_seen():
    """Two models: the likelihood's maximum is the share itself, up to the small prior."""
    played = games([("a", "b", 1.0)] * 300 + [("a", "b", 0.0)] * 100)
    found = bradley_terry(played, ["a", "b"])
    assert found["a"] - found["b"] == pytest.approx(400 * math.log10(3), rel=0.01)
    assert found["a"] + found["b"] == pytest.approx(2000)


def test_ratings_of_three_order_them_and_who_always_wins_stays_finite():
    played = [("a", "b", 1.0)] * 5 + [("b", "c", 1.0)] * 5 + [("a", "c", 1.0)] * 5
    for rate in (bradley_terry, elo):
        found = rate(games(played), ["a", "b", "c"], 0)
        assert found["a"] > found["b"] > found["c"]
        assert all(math.isfinite(rating) for rating in found.values())


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=30), st.integers(0, 9))
def test_turning_every_game_around_mirrors_the_ratings(scores, seed):
    played = games([("a", "b", score) for score in scores])
    turned = games([("a", "b", 1 - score) for score in scores])
    for rate in (bradley_terry, elo):
        one, other = rate(played, ["a", "b"], seed), rate(turned, ["a", "b"], seed)
        assert one["a"] == pytest.approx(other["b"], abs=1e-6)


def test_elo_knows_no_order_of_games_beyond_the_seeds():
    played = [("a", "b", 1.0)] * 12 + [("a", "b", 0.0)] * 8
    found = elo(games(played), ["a", "b"])
    shuffled = played[:]
    random.Random(1).shuffle(shuffled)
    assert elo(games(shuffled), ["a", "b"])["a"] == pytest.approx(found["a"], abs=12)
    assert found["a"] > found["b"]


def test_the_interval_covers_no_difference_where_there_is_none_and_narrows_with_more():
    even = [("a", "b", float(i % 2)) for i in range(20)]
    small = intervals(games(even), ["a", "b"], bradley_terry, seed=0, resamples=200)
    large = intervals(games(even * 10), ["a", "b"], bradley_terry, seed=0, resamples=200)
    assert small["a"][0] < 1000 < small["a"][1]
    assert large["a"][1] - large["a"][0] < 0.6 * (small["a"][1] - small["a"][0])
    again = intervals(games(even), ["a", "b"], bradley_terry, seed=0, resamples=200)
    assert again == small


def test_agreement_is_counted_over_pairs_that_several_judged():
    one = [Game("0", "", who, "a", "b", score) for who, score in (("x", 1.0), ("y", 1.0))]
    two = [Game("1", "", "x", "a", "b", 1.0), Game("1", "", "y", "b", "a", 1.0)]
    alone = [Game("2", "", "x", "a", "b", 0.5)]
    found = agreement(one + two + alone)
    assert (found.pairs, found.share) == (2, 0.5)
    # verdicts 1, 1, 1, 0: chance is (3/4)² + (1/4)² = 0.625
    assert found.kappa == pytest.approx((0.5 - 0.625) / (1 - 0.625))
    assert agreement(alone).share is None
    assert agreement(one).kappa is None


def test_wins_are_counted_by_votes_and_the_interval_by_ballots():
    played = [Game("0", "t", who, "a", "b", 1.0) for who in "xyz"]
    played += [Game("1", "u", "x", "b", "a", 1.0)]
    found = against(played, "a", "b")
    assert (found["wins"], found["losses"], found["ballots"]) == (3, 1, 2)
    assert found["rate"] == 0.5
    assert against(played, "a", "b", "u")["losses"] == 1
    assert not found["is_measurable"]


class Judge:
    """Prefers the longer answer, or one side whatever stands there."""

    name = "judge"

    def __init__(self, says=None):
        self.says = says

    def reply(self, asked, options):
        def letter(prompt):
            text = prompt[0]["content"]
            first, second = (text.split(f"[Answer {side}]")[1] for side in "AB")
            first, second = first.split("[Answer B]")[0], second.split("The better")[0]
            return self.says or ("A" if len(first) > len(second) else "B")

        return [Reply(letter(prompt), "stop") for prompt in asked]


def test_a_model_that_judges_is_asked_both_ways_and_one_sided_verdicts_are_ties():
    made = [
        Ballot("0", "", [{"role": "user", "content": "q"}], ["a", "b"], ["short", "longer one"])
    ]
    (vote,) = votes_of_chat_model(made, Judge())
    assert (vote.kind, vote.annotator, vote.ranks) == ("model", "model:judge", [2, 1])
    assert votes_of_chat_model(made, Judge("A"))[0].ranks == [1, 1]
    assert votes_of_chat_model(made, Judge("neither"))[0].ranks == [1, 1]
    assert ranks_of([0.5, 2.0, 0.5]) == [2, 1, 2]


def test_the_table_tells_people_from_models_and_names_no_difference(tmp_path, capsys):
    write_ballots(tmp_path, ballots())
    people = {f"{i:05}": [1, 2, 3] for i in range(6)}
    page_file(tmp_path / "lin.json", ranks=people)
    page_file(tmp_path / "wu.json", ranks=people, annotator="Wu")
    assert (
        main(
            ["arena", "vote", str(tmp_path), *(str(tmp_path / f) for f in ("lin.json", "wu.json"))]
        )
        == 0
    )
    with open_votes(tmp_path / VOTES_NAME) as votes:
        votes.add([Vote("00000", "model:rm", "model", [1, 1, 1])])
    capsys.readouterr()
    assert main(["arena", "table", str(tmp_path), "--baseline", "alpha-model"]) == 0
    text = capsys.readouterr().out
    assert "people: 12 votes of Lin, Wu" in text
    assert "models as judges, no people: 1 votes of model:rm" in text
    assert "no measurable difference" in text
    assert "agreement: 100% of verdicts on 18 pairs" in text
    table = json.loads((tmp_path / "table.json").read_text())
    assert set(table["person"]["against_baseline"]) == {"beta-model", "gamma-model"}
    assert set(table["person"]["against_baseline"]["beta-model"]) == {"all", "reasoning", "writing"}
    assert main(["arena", "table", str(tmp_path), "--baseline", "delta"]) == 2
    assert "--baseline delta has no answer; there are alpha-model" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--models", "a", "a"], "--models takes 2 to 8 different ones"),
        (["--models", "a", "b", "--num", "0"], "--num must be at least 1"),
    ],
)
def test_nothing_is_answered_before_the_command_line_is_right(tmp_path, capsys, more, complaint):
    asked = tmp_path / "asked.jsonl"
    asked.write_text('{"prompt": "Hi"}\n')
    words = ["arena", "collect", "--prompts", str(asked), "--out", str(tmp_path / "out"), *more]
    assert main(words) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
