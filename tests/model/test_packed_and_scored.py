import json

import pytest
import torch
from torch.testing import assert_close

from openqwen.core.errors import UserError
from openqwen.core.seeds import generator_for, seed_of
from openqwen.core.workers import Workers
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.layers import Dropout
from openqwen.model.long_context import LongContext
from openqwen.model.scorer import scorer_from

SHAPE = qwen_config(
    hidden_size=32, num_attention_heads=2, num_hidden_layers=2, vocab_size=64, train_length=32
)


@pytest.fixture(scope="module")
def model():
    decoder = new_decoder(SHAPE, seed=0)
    with torch.no_grad():  # a fresh model is nearly uniform; this one has opinions
        for parameter in decoder.parameters():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            parameter.add_(0.2 * noise)
    return decoder


def texts(*lengths):
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(64, (1, n), generator=generator) for n in lengths]


def packed(a, b, padding=3):
    ids = torch.cat([a, b, torch.full((1, padding), 9)], 1)
    numbers = [0] * a.shape[1] + [1] * b.shape[1] + [-1] * padding
    return ids, torch.tensor([numbers])


def test_each_packed_text_is_as_if_alone(model):
    a, b = texts(7, 11)
    ids, segments = packed(a, b)
    hidden = model.hidden(ids, segments_BT=segments)
    assert_close(hidden[:, :7], model.hidden(a), atol=1e-5, rtol=0)
    assert_close(hidden[:, 7:18], model.hidden(b), atol=1e-5, rtol=0)


def test_packed_gradients_are_the_sum_of_those_alone(model):
    a, b = texts(7, 11)
    ids, segments = packed(a, b)
    weight = model.layers[0].attention.qkv.weight
    (whole,) = torch.autograd.grad(model.hidden(ids, segments_BT=segments)[:, :18].sum(), weight)
    alone = model.hidden(a).sum() + model.hidden(b).sum()
    (parts,) = torch.autograd.grad(alone, weight)
    assert_close(whole, parts, atol=1e-3, rtol=1e-4)


def test_segments_go_without_cache_and_methods(model):
    ids, segments = packed(*texts(4, 5))
    with pytest.raises(ValueError, match="without cache"):
        model.hidden(ids, segments_BT=segments, long_context=LongContext(ntk=True))


def test_left_padded_right_padded_and_packed_scores_are_equal(model):
    scorer = scorer_from(model, seed=3)
    a, b = texts(7, 11)
    alone = torch.cat([scorer.scores(a), scorer.scores(b)])
    right = torch.zeros(2, 11, dtype=torch.int64)
    right[0, :7], right[1] = a, b
    assert_close(scorer.scores(right, lengths_B=[7, 11]), alone, atol=1e-5, rtol=0)
    left = torch.zeros(2, 11, dtype=torch.int64)
    left[0, 4:], left[1] = a, b
    segments = torch.zeros(2, 11, dtype=torch.int64)
    segments[0, :4] = -1
    assert_close(scorer.scores(left, segments_BT=segments), alone, atol=1e-5, rtol=0)
    ids, both = packed(a, b)
    values = scorer.values(ids, segments_BT=both)
    assert_close(values[0, [6, 17]], alone, atol=1e-5, rtol=0)


def test_a_score_on_a_five_token_toy_by_hand():
    """Layers that add nothing: the score is the head times the normed embedding of the last token.

    Embedding of token 4: (3, 4, 0, 0): mean square 25/4, so RMSNorm divides by 2.5: (1.2, 1.6, 0,
    0). With the head (1, 2, 3, 4) the score is 1.2 + 3.2 = 4.4.
    """
    shape = qwen_config(
        hidden_size=4, num_attention_heads=1, num_hidden_layers=1, vocab_size=5, train_length=8
    )
    scorer = scorer_from(new_decoder(shape, seed=0), seed=0)
    with torch.no_grad():
        scorer.layers[0].attention.out.weight.zero_()
        scorer.layers[0].mlp.down.weight.zero_()
        scorer.embed_tokens.weight[4] = torch.tensor([3.0, 4.0, 0.0, 0.0])
        scorer.score.weight.copy_(torch.tensor([[1.0, 2.0, 3.0, 4.0]]))
    score = scorer.scores(torch.tensor([[0, 1, 2, 3, 4]]))
    assert_close(score, torch.tensor([4.4]), atol=1e-5, rtol=0)


def test_dropout_keeps_the_mean_and_draws_the_same_on_any_thread():
    x = torch.ones(200, 500)
    dropped = Dropout(0.1, generator_for(5))(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1 / 0.9])
    assert float(dropped.mean()) == pytest.approx(1, abs=0.01)
    with Workers(3) as workers:
        made = list(workers.map(lambda i: Dropout(0.1, generator_for(i))(x), [5, 6, 5]))
    assert torch.equal(made[0], dropped)
    assert torch.equal(made[2], dropped)
    assert not torch.equal(made[1], dropped)
    with pytest.raises(ValueError, match="below 1"):
        Dropout(1.0, generator_for(0))


def test_dropout_in_the_model_changes_training_passes_only_where_asked(model):
    (ids,) = texts(9)
    plain = model.hidden(ids)
    assert not torch.equal(model.hidden(ids, dropout=Dropout(0.1, generator_for(0))), plain)
    assert torch.equal(model.hidden(ids, dropout=Dropout(0.0, generator_for(0))), plain)


def test_seeds_depend_on_every_number_and_their_order():
    seeds = [seed_of(1, 2, 3), seed_of(1, 3, 2), seed_of(1, 2), seed_of(0, 1, 2, 3)]
    assert len(set(seeds)) == len(seeds)
    assert seed_of(1, 2, 3) == seeds[0]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_threads_record_gradients_only_where_the_caller_does():
    weight = torch.ones(3, requires_grad=True)
    with Workers(2) as workers:
        with torch.no_grad():
            assert not any(y.requires_grad for y in workers.map(lambda i: weight * i, [1, 2, 3]))
        assert all(y.requires_grad for y in workers.map(lambda i: weight * i, [1, 2, 3]))


def test_a_scorer_goes_to_disk_and_back_in_the_common_layout(model, tmp_path):
    scorer = scorer_from(model, seed=3)
    write_export(tmp_path, scorer, stop_ids=[1], eos_id=1)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    assert config["num_labels"] == 1
    checkpoint = read_checkpoint(tmp_path)
    (ids,) = texts(9)
    assert torch.equal(checkpoint.load_scorer().scores(ids), scorer.scores(ids))
    with pytest.raises(UserError, match="is a reward model: it scores replies"):
        checkpoint.load_model()
    write_export(tmp_path / "lm", model, stop_ids=[1])
    with pytest.raises(UserError, match="has no score head"):
        read_checkpoint(tmp_path / "lm").load_scorer()


def test_the_transformers_library_gives_the_same_scores(model, tmp_path):
    from transformers import AutoModelForSequenceClassification

    scorer = scorer_from(model, seed=3)
    write_export(tmp_path, scorer, stop_ids=[0], eos_id=0)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path, dtype=torch.float32)
    ids = texts(9)[0].clamp_min(1)  # their pooling takes id 0 for padding
    with torch.no_grad():
        expected = theirs(ids).logits[:, 0]
    assert_close(scorer.scores(ids), expected, atol=1e-5, rtol=0)


def test_a_scorer_made_of_a_scorer_keeps_its_head(model):
    first = scorer_from(model, seed=3)
    assert torch.equal(scorer_from(first, seed=4).score.weight, first.score.weight)
    assert not torch.equal(scorer_from(model, seed=4).score.weight, first.score.weight)
