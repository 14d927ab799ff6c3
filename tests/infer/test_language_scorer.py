import math
import pickle

import pytest
import torch
from tiny_exports import TRAIN_LENGTH, byte_tokenizer, random_model, write

from openqwen.cli.main import main
from openqwen.core.documents import Document
from openqwen.core.errors import UserError
from openqwen.data.scores.config import ScoreRule, ScoresConfig
from openqwen.data.scores.step import ScoreDocuments
from openqwen.data.steps import Rejected
from openqwen.lineage.language_scorer import MAX_TOKENS, open_language_model

TEXT = "A scorer asks a model how likely a text is, byte by byte; this is one, and long enough. "


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    return write(tmp_path_factory.mktemp("models") / "tiny", random_model())


def bits_by_hand(text):
    """The loss of each window's tokens from the whole rows of logits."""
    model, ids = random_model().eval(), byte_tokenizer().encode(text)
    bits = 0.0
    for start in range(0, len(ids) - 1, TRAIN_LENGTH):
        row = torch.tensor(ids[start : start + TRAIN_LENGTH + 1])
        with torch.no_grad():
            logs = torch.log_softmax(model(row[None, :-1])[0].float(), -1)
        bits -= float(logs.gather(1, row[1:, None]).sum()) / math.log(2)
    return bits / (len(ids) - 1)


def test_bits_a_byte_are_the_models_own(export):
    score = open_language_model(export)
    for text in (TEXT, "ab", TEXT[:33], TEXT[:34]):
        assert score(text) == pytest.approx(bits_by_hand(text), rel=1e-5)
    assert score("") == score("x") == 0.0


def test_of_a_long_text_the_start_is_scored(export):
    score = open_language_model(export)
    text = TEXT * 60
    assert score(text) == score(text[: MAX_TOKENS + 1]) != score(text[: MAX_TOKENS - 100])


def test_a_directory_without_a_tokenizer_is_told(tmp_path):
    with pytest.raises(UserError, match="no tokenizer"):
        open_language_model(write(tmp_path / "m", random_model(), with_tokenizer=False))("text")


def test_a_model_becomes_a_scorer_and_votes(export, tmp_path, capsys):
    for i in range(8):
        (tmp_path / f"{i}.txt").write_text(TEXT[i:] + TEXT)
    arguments = ["--kind", "model", "--model", str(export), "--in", str(tmp_path)]
    arguments += ["--language", "en", "--out", str(tmp_path / "s")]
    assert main(["data", "train-scorer", *arguments]) == 0
    assert "reference texts             8" in capsys.readouterr().out
    score = open_language_model(export)
    texts = sorted([TEXT * 2, "\u00ff\u00fe x " * 40], key=score)
    rules = {"bits_per_byte": ScoreRule(above=(score(texts[0]) + score(texts[1])) / 2)}
    config = ScoresConfig(models=(str(tmp_path / "s"),), rules=rules, min_votes=1)
    step = pickle.loads(pickle.dumps(ScoreDocuments(config, open_language_model)))
    documents = [Document(t[:3], "s", "", "", "text/plain", t, language="en") for t in texts]
    kept, lost = step(documents)
    assert isinstance(kept, Document)
    assert isinstance(lost, Rejected)
    assert lost.document.scores["bits_per_byte"] == pytest.approx(score(texts[1]), rel=1e-3)
