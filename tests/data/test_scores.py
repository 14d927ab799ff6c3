import gzip
import itertools
import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents_for_tests import GOOD_CHINESE, GOOD_ENGLISH, code, conversation, document
from test_score_classifier import samples

from openqwen.cli.main import main
from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.data.inputs.origin import SetAside
from openqwen.data.scores.config import DEFAULT_RULES, ScorerTraining, ScoreRule, ScoresConfig
from openqwen.data.scores.policy import Policy
from openqwen.data.scores.samples import read_marks
from openqwen.data.scores.scorer import (
    SHARES,
    Card,
    open_scorer,
    read_card,
    rounded,
    scorer_hashes,
    write_scorer,
)
from openqwen.data.scores.step import ScoreDocuments, check_models, score_documents
from openqwen.data.scores.train import (
    calibrate,
    make_language_model_scorer,
    train_perplexity,
    train_quality,
)
from openqwen.data.steps import Rejected

CONFIG = ScorerTraining(num_bits=12, min_count=1)
RULES = {
    "perplexity": ScoreRule(above_quantile=1.0),
    "quality": ScoreRule(below=0.5),
    "context_gain": ScoreRule(below=-99.0),
}


def spam(language):
    return samples(GOOD_CHINESE if language == "zh" else GOOD_ENGLISH, language, seed=5)[1][0]


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    """A perplexity model and a classifier of each language."""
    folder = tmp_path_factory.mktemp("scorers")
    for language, text in (("en", GOOD_ENGLISH), ("zh", GOOD_CHINESE)):
        good, bad = samples(text, language)
        more = [text, *samples(text, language, seed=2, count=30)[0]]
        train_perplexity(more, language, folder / f"p-{language}", CONFIG, SetAside())
        train_quality(
            "quality", good, bad, (language,), folder / f"q-{language}", CONFIG, SetAside()
        )
    return folder


def config_of(scorers, *names, **facts):
    given = {"models": tuple(str(scorers / name) for name in names), "rules": RULES}
    return ScoresConfig(**given | facts)


ALL = ("p-en", "q-en", "p-zh", "q-zh")


def test_good_text_stays_and_bad_goes_with_names_values_and_votes(scorers):
    step = ScoreDocuments(config_of(scorers, *ALL))
    texts = [
        document(GOOD_ENGLISH),
        document(spam("en")),
        document(GOOD_CHINESE, language="zh"),
        document(spam("zh"), language="zh"),
    ]
    kept_en, lost_en, kept_zh, lost_zh = step(texts)
    assert isinstance(kept_en, Document)
    assert isinstance(kept_zh, Document)
    for lost in (lost_en, lost_zh):
        assert lost.reason == "perplexity + quality"
        assert lost.score == lost.document.scores["perplexity"]
        assert "above" in lost.detail
        assert lost.detail.endswith("(2 votes, 2 drop)")
    for outcome in (kept_en, kept_zh, lost_en.document, lost_zh.document):
        assert outcome.scores.keys() == {"perplexity", "context_gain", "quality"}
    assert step.report == {"judged": {"en": 2, "zh": 2}, "unjudged": {}}


def test_what_has_no_model_is_too_short_or_no_prose_passes_and_is_counted(scorers):
    step = ScoreDocuments(config_of(scorers, *ALL))
    texts = [
        document("Ein Satz auf Deutsch, den hier niemand beurteilen kann.", language="de"),
        document("Three words only.", scores={"language": 0.9}),
        code("x = 1\n" * 60),
        conversation("Question?", "x " * 60),
    ]
    assert list(step(texts)) == texts
    assert step.report == {
        "judged": {"en": 0},
        "unjudged": {"code": 1, "instructions": 1, "no model for de": 1, "too short": 1},
    }


def test_order_batches_and_workers_change_nothing(scorers):
    config = config_of(scorers, *ALL)
    texts = [
        document(part + " " + GOOD_ENGLISH[:200], f"s/{i}")
        for i, part in enumerate(
            samples(GOOD_ENGLISH, "en", seed=9, count=70)[i % 2][i % 12] for i in range(70)
        )
    ]
    step = ScoreDocuments(config)
    together = list(step(texts))
    assert [next(step([text])) for text in texts] == together
    assert list(pickle.loads(pickle.dumps(step))(texts)) == together
    assert len(pickle.dumps(step)) < 2000
    assert list(score_documents(config, reversed(texts)))[::-1] == together


def test_documents_stream(scorers):
    taken = []
    endless = (taken.append(i) or document(GOOD_ENGLISH, f"s/{i}") for i in itertools.count())
    next(ScoreDocuments(config_of(scorers, *ALL))(endless))
    assert len(taken) <= 64


def test_no_models_is_a_step_that_does_nothing():
    texts = [document(GOOD_ENGLISH)]
    assert list(score_documents(ScoresConfig(), texts)) == texts


def card(kind="quality", languages=("en",), reference=None, prefix=""):
    found = Card(kind, languages, prefix)
    if reference is not None:
        found = found.with_reference(dict.fromkeys(found.names, reference))
    return found


def test_a_quantile_is_looked_up_in_the_models_reference():
    rules = {"quality": ScoreRule(below_quantile=0.1)}
    policy = Policy(ScoresConfig(rules=rules, min_votes=1), [card(reference=list(range(101)))])
    assert policy.judge("en", {"quality": 9.9}).is_drop
    assert not policy.judge("en", {"quality": 10.1}).is_drop
    assert policy.judge("en", {"quality": 9.9}).objections == (("quality", "9.9 below 10"),)


def test_two_scores_of_one_model_have_one_voice():
    rules = {"perplexity": ScoreRule(above=10), "context_gain": ScoreRule(below=1, votes=3)}
    low, high = (ScoresConfig(rules=rules, min_votes=n) for n in (3, 4))
    model = card("perplexity")
    verdict = Policy(low, [model]).judge("en", {"perplexity": 11.0, "context_gain": 0.0})
    assert (verdict.names, verdict.votes, verdict.is_drop) == (
        ("context_gain", "perplexity"),
        3,
        True,
    )
    with pytest.raises(UserError, match="min_votes is 4, but the models can give 3"):
        Policy(high, [model])


def test_a_language_may_have_a_rule_of_its_own():
    rules = {"quality": ScoreRule(below=0.2), "quality/zh": ScoreRule(below=0.6)}
    policy = Policy(ScoresConfig(rules=rules, min_votes=1), [card(languages=())])
    assert policy.judge("zh", {"quality": 0.5}).is_drop
    assert not policy.judge("en", {"quality": 0.5}).is_drop


def test_a_mistake_is_told_before_the_other_steps(scorers, tmp_path):
    check_models(config_of(scorers, *ALL))
    with pytest.raises(UserError, match="two models that give perplexity for zh"):
        check_models(config_of(scorers, "p-zh", "p-zh"))
    write_scorer(tmp_path, card(), {})
    with pytest.raises(UserError, match="does not exist"):
        check_models(ScoresConfig(models=(str(tmp_path),), rules=RULES, min_votes=1))


def test_a_vote_may_weigh_more_and_enough_must_agree():
    rules = {"quality": ScoreRule(below=0.5), "offensive": ScoreRule(above=0.9, votes=2)}
    policy = Policy(ScoresConfig(rules=rules), [card(), card("offensive")])
    assert not policy.judge("en", {"quality": 0.1, "offensive": 0.5}).is_drop
    assert policy.judge("en", {"quality": 0.9, "offensive": 0.95}).is_drop


@pytest.mark.parametrize(
    ("rules", "cards", "told"),
    [
        ({"quality": ScoreRule(below_quantile=0.1)}, [card()], "has no reference texts"),
        ({"qualitee": ScoreRule(below=0.1)}, [card()], "names qualitee, but no model gives"),
        (
            {"quality": ScoreRule(below=0.1)},
            [card(), card()],
            "two models that give quality for en",
        ),
        (
            {"quality": ScoreRule(below=0.5, votes=0)},
            [card()],
            "min_votes is 1, but the models can give 0",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_told_at_once(rules, cards, told):
    with pytest.raises(UserError, match=told):
        Policy(ScoresConfig(rules=rules, min_votes=1), cards)


def test_a_prefix_lets_two_models_of_one_kind_vote(scorers):
    rules = {"quality": ScoreRule(below=0.5), "b_quality": ScoreRule(below=0.5)}
    policy = Policy(ScoresConfig(rules=rules), [card(), card(prefix="b_")])
    assert policy.judge("en", {"quality": 0.1, "b_quality": 0.1}).is_drop
    assert not policy.judge("en", {"quality": 0.1, "b_quality": 0.9}).is_drop


def test_a_rule_that_is_set_leaves_the_others_as_they_are():
    config = ScoresConfig(rules={"quality": ScoreRule(below=0.3)})
    assert config.rules == DEFAULT_RULES | {"quality": ScoreRule(below=0.3)}


def test_a_score_without_votes_is_only_recorded():
    rules = {"quality": ScoreRule(below=0.5, votes=0), "offensive": ScoreRule(above=0.5)}
    policy = Policy(ScoresConfig(rules=rules, min_votes=1), [card(), card("offensive")])
    assert policy.judge("en", {"quality": 0.1, "offensive": 0.6}).names == ("offensive",)


@pytest.mark.parametrize("facts", [{}, {"above": 1.0, "above_quantile": 0.5}])
def test_a_rule_must_be_clear(facts):
    with pytest.raises(ValueError, match="above"):
        ScoreRule(**facts)


def test_the_reference_of_perplexity_was_not_trained_on(scorers, tmp_path):
    texts = [f"word{i} of line{i} stands here{i} and there{i} " * 12 for i in range(100)]
    made = train_perplexity(texts, "en", tmp_path / "p", CONFIG, SetAside())
    assert made.reference_texts == 10
    seen = ScoreDocuments(ScoresConfig(models=(str(tmp_path / "p"),), min_votes=1))(
        [document(text) for text in texts]
    )
    values = sorted(
        (o.document if isinstance(o, Rejected) else o).scores["perplexity"] for o in seen
    )
    assert made.references["perplexity"][0] > 2 * values[85]


def test_more_text_than_asked_for_is_drawn_whatever_its_order(tmp_path):
    config = ScorerTraining(max_units=1500, min_count=1)
    texts = [f"{GOOD_ENGLISH} {i}" for i in range(40)]
    aside = SetAside()
    for name, given in (("a", texts), ("b", texts[::-1])):
        made = train_perplexity(given, "en", tmp_path / name, config, aside)
        assert 1000 < made.training["units"] <= 1500
    assert aside.counts["pieces beyond max_units"] > 20
    a, b = ((tmp_path / name / "arrays.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_the_order_of_samples_changes_no_byte(tmp_path):
    good, bad = samples(GOOD_ENGLISH, "en")
    train_quality("quality", good, bad, ("en",), tmp_path / "a", CONFIG, SetAside())
    train_quality("quality", good[::-1], bad[::-1], ("en",), tmp_path / "b", CONFIG, SetAside())
    for name in ("scorer.json", "arrays.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_an_offensive_score_is_high_for_what_was_given_as_bad(tmp_path):
    good, bad = samples(GOOD_ENGLISH, "en")
    train_quality("offensive", good, bad, ("en",), tmp_path, CONFIG, SetAside())
    found = ScoreDocuments(ScoresConfig(models=(str(tmp_path),), min_votes=2))
    (clean, _) = found([document(good[0]), document(bad[0])])
    assert clean.scores["offensive"] < 0.5
    (outcome,) = found([document(spam("en"))])
    assert outcome.reason == "offensive"


def test_samples_that_cannot_be_used_are_counted(tmp_path):
    good, bad = samples(GOOD_ENGLISH, "en")
    aside = SetAside()
    given = [*good, good[0].upper(), "...", bad[0]]
    train_quality("quality", given, bad, ("en",), tmp_path, CONFIG, aside)
    assert aside.counts == {"seen before": 1, "without words": 1, "both good and bad": 1}


def test_calibration_replaces_the_reference(tmp_path):
    good, bad = samples(GOOD_ENGLISH, "en")
    train_quality("quality", good, bad, ("en",), tmp_path, CONFIG, SetAside())
    before = read_card(tmp_path)
    hashes = scorer_hashes([str(tmp_path)])
    after = calibrate(tmp_path, [*bad, "short"], aside := SetAside())
    assert after.references["quality"][-1] < before.references["quality"][0]
    assert (after.reference_texts, aside.counts) == (len(bad), {"too short": 1})
    assert read_card(tmp_path) == after
    assert scorer_hashes([str(tmp_path)]) != hashes  # a stage that used it is not up to date


def letters_a_byte(path):
    """A language model's stand-in at the room's door: what is handed in is any such function."""
    assert path.name == "model"
    return lambda text: sum(c == "e" for c in text) / len(text)


def test_a_language_model_is_handed_in(tmp_path):
    make_language_model_scorer(tmp_path / "model", ("en",), tmp_path / "s")
    calibrate(tmp_path / "s", [GOOD_ENGLISH], SetAside(), letters_a_byte)
    rules = {"bits_per_byte": ScoreRule(above_quantile=1.0)}
    config = ScoresConfig(models=(str(tmp_path / "s"),), rules=rules, min_votes=1)
    step = pickle.loads(pickle.dumps(ScoreDocuments(config, letters_a_byte)))
    kept, lost = step([document(GOOD_ENGLISH), document("e e e " * 20)])
    assert kept.scores["bits_per_byte"] == rounded(GOOD_ENGLISH.count("e") / len(GOOD_ENGLISH))
    assert lost.reason == "bits_per_byte"
    with pytest.raises(UserError, match="needs a language model"):
        ScoreDocuments(config)


def marks_file(path, *marks):
    rows = [dict(zip(("id", "step", "reason", "mark"), mark, strict=True)) for mark in marks]
    content = {"kind": "openqwen audit marks", "judges": "texts", "by": {"kind": "person"}}
    path.write_text(json.dumps(content | {"marks": rows}))
    return path


def test_marks_become_samples(tmp_path):
    for name, rows in (
        ("documents", {"k/1": "kept right", "k/2": "kept wrong"}),
        ("drops", {"d/0": "dropped right", "d/1": "dropped wrong", "d/2": "a twin"}),
    ):
        table = pa.table({"id": list(rows), "source": ["s"] * len(rows), "text": [*rows.values()]})
        pq.write_table(table, tmp_path / f"{name}.parquet")
    marks = marks_file(
        tmp_path / "marks.json",
        ("k/1", "kept", "s, en", "good"),
        ("k/2", "kept", "s, en", "bad"),
        ("d/0", "rules", "why", "bad"),
        ("d/1", "rules", "why", "good"),
        ("d/2", "minhash", "why", "good"),
        ("d/9", "rules", "why", "good"),
        ("d/8", "rules", "why", "so-so"),
    )
    aside = SetAside()
    good, bad = read_marks(marks, [tmp_path], aside)
    assert (sorted(good), sorted(bad)) == (
        ["dropped wrong", "kept right"],
        ["dropped right", "kept wrong"],
    )
    assert aside.counts == {
        "mark on a drop by minhash": 1,
        "not a mark": 1,
        "marked, but its text is not there": 1,
    }


@pytest.fixture
def files(tmp_path):
    """Sample files as a user has them."""
    good, bad = samples(GOOD_ENGLISH, "en", count=30)
    (tmp_path / "good.jsonl").write_text(
        "".join(json.dumps({"text": t}) + "\n" for t in good) + "{\n"
    )
    with gzip.open(tmp_path / "bad.jsonl.gz", "wt") as file:
        file.writelines(json.dumps({"text": t}) + "\n" for t in bad)
    (tmp_path / "good").mkdir()
    for i, text in enumerate(good):
        (tmp_path / "good" / f"{i}.txt").write_text(f"{text} {GOOD_ENGLISH[20 * i :]}")
    return tmp_path


def run(capsys, *arguments):
    returned = main(["data", *map(str, arguments)])
    shown = capsys.readouterr()
    return returned, shown.out + shown.err


def test_a_user_trains_calibrates_and_looks(files, capsys):
    quality, perplexity = files / "q", files / "p"
    returned, shown = run(
        capsys, "train-scorer", "--kind", "quality", "--good", files / "good.jsonl", "--bad",
        files / "bad.jsonl.gz", "--language", "en", "--out", quality, "--set", "num_bits=12",
    )  # fmt: skip
    assert returned == 0, shown
    assert "accuracy_interval" in shown
    assert "not JSON 1" in shown
    returned, shown = run(
        capsys, "train-scorer", "--kind", "perplexity", "--in", files / "good", "--language",
        "en", "--out", perplexity,
    )  # fmt: skip
    assert returned == 0, shown
    returned, shown = run(capsys, "calibrate-scorer", perplexity, "--in", files / "good")
    assert (returned, "reference texts             30" in shown) == (0, True)
    returned, shown = run(
        capsys, "score", "--model", quality, perplexity, "--in", files / "bad.jsonl.gz",
        "--language", "en", "--out", files / "o.jsonl",
    )  # fmt: skip
    assert returned == 0, shown
    assert "quality en                30 texts" in shown
    rows = [json.loads(line) for line in (files / "o.jsonl").read_text().splitlines()]
    assert {row["reason"] for row in rows} <= {
        "context_gain + perplexity + quality",
        "perplexity + quality",
    }
    assert len(rows) == 30


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("score --model nowhere --in good.jsonl", "nowhere is no scorer: it has no scorer.json"),
        ("score --model broken --in good.jsonl", "is not a scorer's card"),
        ("score --model hollow --in good.jsonl", "arrays.safetensors does not exist"),
        ("score --model old --in good.jsonl", "train it anew"),
        (
            "train-scorer --kind quality --good good.jsonl --out o",
            "needs --good and --bad, or --marks",
        ),
        (
            "train-scorer --kind quality --good good.jsonl --bad empty.jsonl --out o",
            "0 bad samples that can be used",
        ),
        (
            "train-scorer --kind quality --good nowhere --bad empty.jsonl --out o",
            "nowhere does not exist",
        ),
        (
            "train-scorer --kind perplexity --in empty.jsonl --language en --out o",
            "0 words to learn from",
        ),
        ("train-scorer --kind perplexity --in empty.jsonl --out o", "needs one --language"),
        ("train-scorer --kind model --in good.jsonl --out o", "needs --model"),
        ("train-scorer --kind quality --marks good.jsonl --out o", "is not valid JSON"),
        ("train-scorer --kind quality --marks empty.json --out o", "is not a file of marks"),
        ("train-scorer --kind quality --set num_bitz=3 --out o", "did you mean num_bits"),
        (
            "train-scorer --kind quality --good good.jsonl --bad good.jsonl --out o",
            "both good and bad",
        ),
    ],
)
def test_what_a_user_gets_wrong_is_one_line_and_code_2(files, capsys, monkeypatch, arguments, told):
    monkeypatch.chdir(files)
    (files / "empty.jsonl").write_text("")
    (files / "empty.json").write_text("{}")
    (files / "broken").mkdir()
    (files / "broken" / "scorer.json").write_text('{"format": 1, "kind": "taste"}')
    for name in ("hollow", "old"):
        write_scorer(files / name, card(reference=[0.0] * len(SHARES)), {})
    facts = json.loads((files / "old" / "scorer.json").read_text())
    (files / "old" / "scorer.json").write_text(json.dumps(facts | {"units": "0"}))
    returned, shown = run(capsys, *arguments.split())
    assert returned == 2
    assert told in shown
    assert shown.count("\n") == 1


def test_a_scorer_of_the_wrong_kind_is_told(scorers, tmp_path):
    facts = json.loads((scorers / "q-en" / "scorer.json").read_text())
    (tmp_path / "arrays.safetensors").write_bytes(
        (scorers / "q-en" / "arrays.safetensors").read_bytes()
    )
    (tmp_path / "scorer.json").write_text(json.dumps(facts | {"kind": "perplexity"}))
    with pytest.raises(UserError, match="not a whole scorer of kind perplexity"):
        open_scorer(tmp_path)
