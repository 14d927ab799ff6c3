"""Training with adapters: what is trained, what it costs, what it resumes and goes on from."""

import json

import numpy as np
import pytest
import torch
from torch.nn import functional

import openqwen
from openqwen.cli.main import main
from openqwen.core.config import parse_config
from openqwen.core.errors import UserError
from openqwen.core.manifest import Manifest
from openqwen.core.workers import Workers
from openqwen.data.training.packing import Encoded, PackedBatches
from openqwen.data.training.preferences import Pair
from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.adapter import ADAPTER_CONFIG, read_adapter
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.train.control_rows import judge_control_rows
from openqwen.train.lora import open_start, save_adapter, trained_rows
from openqwen.train.reward import encode_pairs, measure_pairs, train_scorer
from openqwen.train.reward_config import RewardConfig
from openqwen.train.sft import Round, SFTTrainer, fine_tune
from openqwen.train.sft_config import LoraConfig, SFTConfig

ROWS, WIDTH = 512, 32
CPU = torch.device("cpu")
SETTINGS = {"context_length": 32, "num_steps": 4, "warmup_steps": 0, "learning_rate": 1e-2}
SETTINGS |= {"sequences_per_step": 2, "micro_sequences": 1, "dropout": 0.1}


def shape_of(*, tied):
    plain = qwen_config(
        hidden_size=WIDTH,
        num_attention_heads=2,
        num_hidden_layers=2,
        vocab_size=ROWS,
        train_length=32,
    )
    return plain.model_copy(update={"tie_word_embeddings": tied})


def pretrained(ids_BT, *, tied):
    """A model that has seen some tokens for a while, weight decay included."""
    model = new_decoder(shape_of(tied=tied), seed=0)
    adamw = torch.optim.AdamW(model.parameters(), lr=2e-2, weight_decay=0.1)
    for _ in range(12):
        logits_BTV = model(ids_BT[:, :-1])
        functional.cross_entropy(logits_BTV.flatten(0, 1), ids_BT[:, 1:].flatten()).backward()
        adamw.step()
        adamw.zero_grad()
    return model


def texts(*, tokens=(), rows=4):
    generator = torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, 256, (rows, 24), generator=generator)
    for place, token in enumerate(tokens):
        ids_BT[:, place * 5] = token
    return ids_BT


@pytest.fixture(scope="module")
def base(tmp_path_factory, byte_tokenizer):
    """A base that has seen no token yet."""
    directory = tmp_path_factory.mktemp("lora") / "base"
    model = new_decoder(shape_of(tied=True), seed=0)
    write_export(directory, model, stop_ids=byte_tokenizer.stop_ids)
    byte_tokenizer.save(directory)
    return directory


@pytest.fixture(scope="module")
def encoded():
    lengths = [9, 14, 7, 11, 20, 5, 12, 8]
    draw = np.random.default_rng(0)
    ids = draw.integers(0, 256, sum(lengths)).astype(np.int32)
    ids[::5], ids[2::9] = 257, 258  # <|im_start|>, <|im_end|>
    learnt = draw.random(sum(lengths)) < 0.5
    return Encoded(ids, learnt, np.cumsum([0, *lengths], dtype=np.int64), 0, 0)


def config_of(lora, **settings):
    lora = {"rank": 2, "alpha": 4.0, "train_embeddings": "never"} | lora
    return parse_config(SFTConfig, SETTINGS | {"lora": lora} | settings, where="test")


def started(base, lora, dtype=torch.float32):
    return open_start("chat", lora, base, dtype=dtype, device=CPU, seed=0)


def trainer_of(base, encoded, config, dtype=torch.bfloat16):
    start = started(base, config.lora, dtype)
    batches = PackedBatches(encoded, context_length=32, sequences_per_step=2, seed=0, pack=True)
    rounds = [Round(batches, config.num_steps)]
    model = start.model.train()
    return start, SFTTrainer(config, model, rounds, {}, seed=0, dtype=dtype, workers=Workers(1))


def run(trainer, steps):
    with trainer.workers:
        return [float(trainer.step(step)["loss"]) for step in steps]


@pytest.mark.parametrize("tied", [False, True])
def test_tokens_a_base_has_never_seen_are_told_from_those_it_has(byte_tokenizer, tmp_path, tied):
    tokens = (byte_tokenizer.im_start_id, byte_tokenizer.im_end_id)
    unseen = pretrained(texts(), tied=tied).embed_tokens.weight
    are_new, why = judge_control_rows(unseen, byte_tokenizer, tmp_path)
    assert are_new, why
    assert "times as far from the 253 reserved rows' centre" in why
    seen = pretrained(texts(tokens=tokens), tied=tied).embed_tokens.weight
    are_new, why = judge_control_rows(seen, byte_tokenizer, tmp_path)
    assert not are_new, why
    one = pretrained(texts(tokens=tokens[:1]), tied=tied).embed_tokens.weight
    assert judge_control_rows(one, byte_tokenizer, tmp_path)[0]  # <|im_end|> is new


def test_rows_of_one_value_make_only_equal_ones_new(byte_tokenizer, tmp_path):
    embedding = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(0))
    embedding[259:] = 0.0
    assert not judge_control_rows(embedding, byte_tokenizer, tmp_path)[0]
    embedding[byte_tokenizer.im_end_id] = 0.0
    assert judge_control_rows(embedding, byte_tokenizer, tmp_path)[0]


@pytest.mark.parametrize(("stage", "expected"), [("base", True), ("chat", False), (None, True)])
def test_without_reserved_rows_the_manifest_decides(byte_tokenizer, tmp_path, stage, expected):
    if stage:
        nothing = {"inputs": {}, "settings": {}, "outputs": {}, "counts": {}, "versions": {}}
        numbers = {"seconds": 0.0, "peak_memory_bytes": 0, "seed": 0}
        Manifest(
            stage=stage, recipe="", recipe_hash="", host={}, finished_at="", **nothing, **numbers
        ).write(tmp_path)
    embedding = torch.zeros(260, WIDTH)
    are_new, why = judge_control_rows(embedding, byte_tokenizer, tmp_path)
    assert are_new is expected
    assert (stage or "no stage of ours") in why


def test_a_run_on_a_base_without_chatml_trains_its_embeddings_and_says_why(
    base, encoded, tmp_path, capsys
):
    out = tmp_path / "adapter"
    out.mkdir()
    config = config_of({"train_embeddings": "auto"}, dtype="float32")
    counts = fine_tune(
        "chat", config, base, [(encoded, 1.0)], {"mine": encoded}, out, seed=0, lineage_hash=""
    )
    said = capsys.readouterr().out
    assert "embeddings are trained, too: <|im_start|> and <|im_end|> lie" in said
    width = shape_of(tied=True).intermediate_size
    sides = (WIDTH + 3 * WIDTH) + (WIDTH + WIDTH) + (WIDTH + 2 * width) + (width + WIDTH)
    adapters = 2 * 2 * sides  # layers, rank
    assert counts["trained_parameters"] == adapters + ROWS * WIDTH
    assert counts["validation"]["mine"]["loss"] < counts["before"]["mine"]["loss"]
    settings = json.loads((out / ADAPTER_CONFIG).read_text())
    assert settings["modules_to_save"] == ["embed_tokens", "lm_head"]
    before = openqwen.load(base, dtype="float32").model.embed_tokens.weight
    after = openqwen.load(out, dtype="float32").model.embed_tokens.weight
    assert not torch.equal(after[257], before[257])
    with_option = openqwen.load(base, adapter=out, dtype="float32").model.embed_tokens.weight
    assert torch.equal(with_option, after)


@pytest.mark.parametrize("embeddings", ["never", "tokens", "always"])
def test_the_optimiser_holds_twelve_bytes_a_trained_parameter_and_nothing_of_the_rest(
    base, encoded, embeddings
):
    config = config_of({"train_embeddings": embeddings})
    start, trainer = trainer_of(base, encoded, config)
    run(trainer, [0])
    trained = sum(p.numel() for p in start.model.parameters() if p.requires_grad)
    state = trainer.state()
    held = [t for name, t in state.items() if not name.startswith("step.")]
    assert sum(t.numel() * t.element_size() for t in held) == 12 * trained
    assert len(held) == 3 * sum(p.requires_grad for p in start.model.parameters())
    assert all(p.dtype == torch.bfloat16 for p in start.model.parameters())
    rows = {"never": 0, "tokens": 2, "always": ROWS}[embeddings]
    assert trained_rows(start.model) == rows
    adapters = trainer_of(base, encoded, config_of({}))[1].optimiser.parameters
    assert trained == sum(p.numel() for p in adapters) + rows * WIDTH
    assert trained < sum(p.numel() for p in start.model.parameters())


@pytest.mark.parametrize("embeddings", ["never", "tokens", "always"])
def test_a_resumed_run_ends_with_the_same_bits(base, encoded, embeddings):
    config = config_of({"train_embeddings": embeddings})
    _, whole = trainer_of(base, encoded, config)
    losses = run(whole, range(4))
    _, first = trainer_of(base, encoded, config)
    run(first, range(2))
    _, second = trainer_of(base, encoded, config)
    second.load_state({name: tensor.clone() for name, tensor in first.state().items()})
    assert run(second, (2, 3)) == losses[2:]
    for name, tensor in whole.state().items():
        assert torch.equal(second.state()[name], tensor), name
    expected = whole.model.state_dict()
    assert all(torch.equal(t, expected[n]) for n, t in second.model.state_dict().items())


def test_nothing_but_what_is_trained_moves(base, encoded, byte_tokenizer):
    start, trainer = trainer_of(base, encoded, config_of({"train_embeddings": "tokens"}))
    before = {name: p.detach().clone() for name, p in start.model.named_parameters()}
    run(trainer, range(2))
    moved = {n for n, p in start.model.named_parameters() if not torch.equal(p, before[n])}
    assert {name.rsplit(".", 1)[1] for name in moved} == {"lora_a", "lora_b", "values"}


@pytest.mark.parametrize("embeddings", ["never", "tokens"])
def test_recompute_changes_no_bit(base, encoded, embeddings):
    lora = {"train_embeddings": embeddings}
    _, plain = trainer_of(base, encoded, config_of(lora))
    _, again = trainer_of(base, encoded, config_of(lora, parallel={"recompute": "layer"}))
    assert run(again, range(2)) == run(plain, range(2))
    for name, tensor in plain.state().items():
        assert torch.equal(again.state()[name], tensor), name


@pytest.mark.parametrize("embeddings", ["never", "tokens", "always"])
def test_an_adapter_goes_on_from_its_masters(base, encoded, tmp_path, embeddings):
    config = config_of({"train_embeddings": embeddings})
    start, trainer = trainer_of(base, encoded, config, torch.float32)
    run(trainer, range(2))
    save_adapter(tmp_path / "first", start, trainer.state())
    again = started(tmp_path / "first", config.lora)
    expected = dict(start.model.named_parameters())
    assert {n for n, p in again.model.named_parameters() if p.requires_grad} == {
        n for n, p in expected.items() if p.requires_grad
    }
    assert all(
        torch.equal(p, expected[n]) for n, p in again.model.named_parameters() if p.requires_grad
    )
    ids = torch.tensor([[257, 5, 258, 10]])
    assert torch.equal(again.model.eval()(ids), start.model.eval()(ids))
    assert again.base.directory == base
    _, further = trainer_of(tmp_path / "first", encoded, config, torch.float32)
    assert np.isfinite(run(further, range(2))).all()


def test_an_adapter_of_a_bfloat16_run_keeps_its_float32_masters(base, encoded, tmp_path):
    start, trainer = trainer_of(base, encoded, config_of({}))
    run(trainer, range(2))
    save_adapter(tmp_path / "out", start, trainer.state())
    model = read_adapter(tmp_path / "out").load_trainable()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(parameter, trainer.state()[f"master.{name}"])


@pytest.mark.parametrize(
    ("lora", "complaint"),
    [
        ({"rank": 3}, "has adapters of rank 2 and alpha 4, the settings ask for lora.rank = 3"),
        ({"rank": 0}, "the settings ask for lora.rank = 0"),
        ({"alpha": 8.0}, "lora.alpha = 8: give its own"),
        ({"train_embeddings": "always"}, r"has trained embeddings \(tokens\), which"),
        ({"train_embeddings": "never"}, "lora.train_embeddings = never contradicts"),
    ],
)
def test_settings_that_an_adapter_contradicts_are_refused(base, tmp_path, lora, complaint):
    plain = {"rank": 2, "alpha": 4.0, "train_embeddings": "tokens"}
    start = started(base, LoraConfig(**plain))
    save_adapter(tmp_path / "mine", start, {})
    with pytest.raises(UserError, match=complaint):
        started(tmp_path / "mine", LoraConfig(**(plain | lora)))


def test_embeddings_may_be_added_when_an_adapter_goes_on(base, tmp_path, capsys):
    save_adapter(tmp_path / "mine", started(base, LoraConfig(rank=2, train_embeddings="never")), {})
    again = started(tmp_path / "mine", LoraConfig(rank=2, train_embeddings="tokens"))
    assert trained_rows(again.model) == 2
    assert "goes on with the adapters of" in capsys.readouterr().out
    auto = started(tmp_path / "mine", LoraConfig(rank=2))
    assert trained_rows(auto.model) == 0


def test_a_reward_model_trained_with_adapters_is_a_plain_one_afterwards(base, tmp_path):
    question = [{"role": "user", "content": "say it"}]
    pairs = [
        Pair(str(i), "made", question, f"{i} please", f"{i} no", split)
        for split in ("train", "validation")
        for i in range(16)
    ]
    settings = {"pairs_per_step": 8, "micro_pairs": 4, "learning_rate": 3e-3, "num_epochs": 12.0}
    settings |= {"max_tokens": 96, "warmup_steps": 0, "dtype": "float32"}
    lora = {"rank": 2, "train_embeddings": "never"}
    config = parse_config(RewardConfig, settings | {"lora": lora}, where="test")
    out = tmp_path / "reward"
    counts = train_scorer("reward", config, base, pairs, out, seed=0, lineage_hash="")
    assert counts["validation"]["loss"] < counts["before"]["loss"] - 0.1
    assert counts["trained_parameters"] < counts["parameters"] / 5
    scorer = read_checkpoint(out).load_scorer()
    tokenizer = openqwen.Tokenizer.from_file(out)
    encoded = encode_pairs(pairs, tokenizer, 96)["validation"]
    with Workers(1) as workers:
        measured = measure_pairs(scorer, encoded, workers, 4)
    assert measured["loss"] == pytest.approx(counts["validation"]["loss"], abs=1e-4)
    before = read_checkpoint(base).load_model().layers[0].mlp.down.weight
    assert not torch.equal(scorer.layers[0].mlp.down.weight, before)
    assert torch.equal(
        scorer.embed_tokens.weight, read_checkpoint(base).load_model().embed_tokens.weight
    )


def test_the_verb_goes_on_with_an_adapter_and_takes_over_its_rank(base, tmp_path, capsys):
    mine = tmp_path / "mine.jsonl"
    rows = [{"instruction": f"Say {i}", "output": f"I say {i}."} for i in range(6)]
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = tmp_path / "first" / "chat", tmp_path / "second" / "chat"
    quick = ("num_epochs=1", "sequences_per_step=2", "context_length=128", "warmup_steps=0")
    shared = ["--data", str(mine), *(p for s in quick for p in ("--set", f"chat.{s}"))]
    own = ["--set", "chat.lora.rank=3", "--set", "chat.lora.train_embeddings=tokens"]
    assert main(["sft", str(base), *shared, "--lora", *own, "--out", str(first)]) == 0
    assert main(["sft", str(first), *shared, "--out", str(second)]) == 0
    assert f"goes on with the adapters of {first}" in capsys.readouterr().out
    settings = [json.loads((d / ADAPTER_CONFIG).read_text()) for d in (first, second)]
    assert [s["r"] for s in settings] == [3, 3]
    assert settings[1]["trainable_token_indices"] == {"embed_tokens": [257, 258]}
    assert read_adapter(second).base.directory == base
    conflict = ["--set", "chat.lora.rank=4", "--out", str(tmp_path / "x")]
    assert main(["sft", str(first), *shared, *conflict]) == 2
    assert "has adapters of rank 3" in capsys.readouterr().err
