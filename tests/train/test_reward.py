import numpy as np
import pytest
import torch

from openqwen.core.config import parse_config
from openqwen.core.intervals import share_interval
from openqwen.core.workers import Workers
from openqwen.data.training.preferences import Pair, pair_ids
from openqwen.eval.win_rate import win_rate
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.scorer import scorer_from
from openqwen.train.reward import EncodedPair, RewardTrainer, score_pairs
from openqwen.train.reward_config import RewardConfig
from openqwen.train.texts import pack_texts

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=512, train_length=64
)
WORDS = ("sun", "sea", "tea", "owl", "oak", "ice")


def some_pairs(tokenizer, count, seed):
    """Pairs whose better answer says please."""
    draw = np.random.default_rng(seed)
    found = []
    for i in range(count):
        asked, one, other = (" ".join(draw.choice(WORDS, 2)) for _ in range(3))
        prompt = [{"role": "system", "content": "s"}, {"role": "user", "content": asked}]
        pair = Pair(str(i), "made", prompt, f"{one} please", f"{other} {draw.choice(WORDS)}xxx")
        found.append(EncodedPair(pair, *pair_ids(pair, tokenizer, 96)))
    return found


def trainer_of(tokenizer, count=1, **settings):
    plain = {"pairs_per_step": 8, "micro_pairs": 4, "learning_rate": 3e-3, "num_epochs": 8.0}
    config = parse_config(RewardConfig, plain | settings, where="test")
    scorer = scorer_from(new_decoder(SHAPE, seed=0), seed=0)
    train, held_out = some_pairs(tokenizer, 40, 1), some_pairs(tokenizer, 40, 2)
    return RewardTrainer(
        config, scorer, train, held_out, seed=0, dtype=torch.float32, workers=Workers(count)
    )


def test_a_scorer_learns_what_makes_an_answer_better(byte_tokenizer):
    trainer = trainer_of(byte_tokenizer)
    with trainer.workers:
        before = trainer.evaluate()
        for step in range(trainer.num_steps):
            trainer.step(step)
        after = trainer.evaluate()
    assert trainer.num_steps == 40
    assert after["loss"] < 0.5 * before["loss"]
    assert after["accuracy"] > 0.9
    assert after["by_source"]["made"]["n"] == 40


def test_packed_scores_are_those_alone_and_workers_change_no_bit(byte_tokenizer):
    one, three = trainer_of(byte_tokenizer), trainer_of(byte_tokenizer, count=3)
    chosen, rejected = score_pairs(one.scorer, one.train[:5])
    for i, pair in enumerate(one.train[:5]):
        both = (pair.chosen, pair.rejected)
        alone = [one.scorer.scores(torch.tensor([ids])).item() for ids in both]
        assert [chosen[i].item(), rejected[i].item()] == pytest.approx(alone, abs=1e-5)
    for trainer in (one, three):
        with trainer.workers:
            for step in range(2):
                row = trainer.step(step)
    assert float(row["loss"]) > 0
    for name, value in one.scorer.state_dict().items():
        assert torch.equal(three.scorer.state_dict()[name], value)


def test_accumulated_is_whole(byte_tokenizer):
    parts = trainer_of(byte_tokenizer, micro_pairs=1, epsilon=1e-3)
    whole = trainer_of(byte_tokenizer, micro_pairs=8, epsilon=1e-3)
    rows = []
    for trainer in (parts, whole):
        with trainer.workers:
            rows.append([float(trainer.step(step)["loss"]) for step in range(3)])
    assert rows[0] == pytest.approx(rows[1], rel=1e-4)


def test_a_resumed_trainer_ends_with_the_same_bits(byte_tokenizer):
    whole, first, second = (trainer_of(byte_tokenizer) for _ in range(3))
    for trainer, steps in ((whole, range(4)), (first, range(2))):
        with trainer.workers:
            for step in steps:
                trainer.step(step)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    with second.workers:
        for step in (2, 3):
            second.step(step)
    for name, value in whole.scorer.state_dict().items():
        assert torch.equal(second.scorer.state_dict()[name], value)


def test_texts_packed_for_scoring_keep_their_ids_and_waste_little():
    draw = np.random.default_rng(0)
    texts = [draw.integers(1, 99, n).tolist() for n in draw.integers(60, 256, 16)]
    batch = pack_texts(texts)
    for i, ids in enumerate(texts):
        row, start = int(batch.rows[i]), int(batch.starts[i])
        assert batch.ids_BT[row, start : start + len(ids)].tolist() == ids
        assert int(batch.ends[i]) == start + len(ids) - 1
        assert len(set(batch.segments_BT[row, start : start + len(ids)].tolist())) == 1
    padding = float((batch.segments_BT == -1).float().mean())
    assert padding < 0.05


def test_a_long_pair_is_cut_but_keeps_its_end_token(byte_tokenizer):
    prompt = [{"role": "user", "content": "q" * 300}]
    chosen, rejected = pair_ids(Pair("", "", prompt, "a" * 300, "b"), byte_tokenizer, 100)
    assert len(chosen) <= 100
    assert {chosen[-1], rejected[-1]} == {byte_tokenizer.im_end_id}
    assert chosen.count(ord("a")) >= 40
    assert rejected[-2] == ord("b")


def test_intervals_of_shares_are_wilsons():
    assert share_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert share_interval(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    with pytest.raises(ValueError, match="at least one trial"):
        share_interval(0, 0)


def test_a_win_rate_says_when_there_is_no_measurable_difference():
    even = win_rate([1, 2, 3, 4], [2, 1, 4, 3])
    assert (even.wins, even.ties, even.losses, even.rate) == (2, 0, 2, 0.5)
    assert even.sentence("A", "B").startswith("no measurable difference: A wins 50 % against B")
    clear = win_rate([1.0] * 30, [0.0] * 29 + [1.0])
    assert (clear.wins, clear.ties) == (29, 1)
    assert clear.is_measurable
    assert clear.rate == pytest.approx(29.5 / 30)
