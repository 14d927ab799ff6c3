"""From layout to layout: bits, settings, tokenizer, and what is said where there is no place."""

import json

import pytest
import torch
from safetensors.torch import load_file
from small_models import QWEN1_CONFIG, Qwen1Directory, random_ids, roughen, small_config

from openqwen.cli.main import main
from openqwen.core.errors import UserError
from openqwen.infer.convert import convert
from openqwen.model.decoder import new_decoder
from openqwen.model.formats import stream
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.model.long_context import LongContext
from openqwen.tokenizer.tokenizer import Tokenizer
from openqwen.tokenizer.vocabulary import Vocabulary
from openqwen.tokenizer.write_qwen1 import write_qwen1_vocabulary

ROWS = 512  # the byte tokenizer has 464 ids
SAID = (
    "dynamic NTK in steps is left out: {} can't say it, so logits differ beyond 16 tokens, not "
    "before\nLogN is left out: {} can't say it, so logits differ beyond 16 tokens, not before\n"
)


@pytest.fixture
def qwen1(tmp_path, byte_tokenizer):
    """Makes a random Qwen-1 chat model with a tokenizer and a licence, as published."""
    from small_models import qwen1_tensors

    def make(dtype=torch.float32, **changes):
        config = QWEN1_CONFIG | {"vocab_size": ROWS} | changes
        tensors = {name: t.to(dtype) for name, t in qwen1_tensors(config).items()}
        directory = Qwen1Directory(tmp_path / "qwen1", config, tensors)
        vocabulary = Vocabulary(byte_tokenizer.ranks, byte_tokenizer.control_tokens)
        write_qwen1_vocabulary(directory.path, vocabulary, train_length=16)
        (directory.path / "LICENSE").write_text("terms")
        generation = {"chat_format": "chatml", "eos_token_id": 256, "top_p": 0.8, "top_k": 0}
        (directory.path / "generation_config.json").write_text(json.dumps(generation))
        return directory

    return make


def export(directory, *, dtype=torch.float32, **shape):
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    config = small_config(vocab_size=ROWS, **shape)
    model = roughen(new_decoder(config, seed=1)).to(dtype).eval()
    write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(directory)
    return model


def weights_of(directory):
    return load_file(directory / "model.safetensors")


def assert_same_bits(found, expected):
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@torch.no_grad()
def test_qwen1_as_qwen2_gives_the_originals_logits_in_transformers(qwen1, tmp_path, capsys):
    transformers = pytest.importorskip("transformers")
    directory = qwen1()
    convert(directory.path, tmp_path / "out", to="qwen2")
    assert capsys.readouterr().out == SAID.format(*["Qwen2's layout"] * 2) + (
        f"189,440 parameters, float32, {_size(tmp_path / 'out')} written to {tmp_path / 'out'}\n"
    )
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "out", dtype=torch.float32
    )
    assert type(theirs).__name__ == "Qwen2ForCausalLM"
    ids = random_ids(16, vocab_size=ROWS)
    torch.testing.assert_close(
        theirs.eval()(ids[None]).logits[0], directory.logits(ids), atol=1e-5, rtol=1e-5
    )
    assert theirs.generation_config.eos_token_id == [256, 257, 258]
    assert theirs.generation_config.top_p == 0.8
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path / "out")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n")
    data = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "openqwen" not in data
    assert data["max_position_embeddings"] == 16
    assert (tmp_path / "out" / "LICENSE").read_text() == "terms"


def _size(directory):
    from openqwen.core.log import format_bytes

    return format_bytes(sum(p.stat().st_size for p in directory.iterdir()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("by_way_of", ["qwen2", "openqwen", "gguf"])
def test_there_and_back_every_bit_is_the_same(qwen1, tmp_path, by_way_of, dtype):
    directory = qwen1(dtype)
    between = tmp_path / ("between.gguf" if by_way_of == "gguf" else "between")
    convert(directory.path, between, to=by_way_of)
    convert(between, tmp_path / "back", to="qwen1")
    assert_same_bits(weights_of(tmp_path / "back"), directory.tensors)
    before, after = read_checkpoint(directory.path), read_checkpoint(tmp_path / "back")
    assert after.config == before.config
    assert after.stop_ids == (256, 257, 258)
    if by_way_of == "openqwen":  # the export keeps the methods and the context, the others can't
        assert (after.long_context, after.context) == (before.long_context, before.context)
    ours = Tokenizer.from_file(tmp_path / "back")
    theirs = Tokenizer.from_file(directory.path)
    assert (ours.ranks, ours.control_tokens) == (theirs.ranks, theirs.control_tokens)


def test_a_written_qwen1_directory_has_the_keys_of_the_later_generation(qwen1, tmp_path):
    directory = qwen1(max_position_embeddings=4096)
    convert(directory.path, tmp_path / "out", to="openqwen")
    convert(tmp_path / "out", tmp_path / "back", to="qwen1")
    data = json.loads((tmp_path / "back" / "config.json").read_text())
    for key, value in directory.config.items():
        assert data[key] == value, key
    generation = json.loads((tmp_path / "back" / "generation_config.json").read_text())
    assert generation["chat_format"] == "chatml"
    assert generation["stop_words_ids"] == [[257], [258]]
    assert (generation["eos_token_id"], generation["max_window_size"]) == (256, 12)
    assert (generation["top_p"], generation["top_k"]) == (0.8, 0)


@pytest.mark.parametrize("layout", ["qwen2", "openqwen", "gguf"])
@pytest.mark.parametrize(
    "shape",
    [{}, {"tie_word_embeddings": True}, {"qkv_bias": False, "head_dim": 16, "rope_theta": 5e5}],
    ids=["grouped", "tied", "llama"],
)
@torch.no_grad()
def test_shapes_of_today_keep_bits_and_logits(tmp_path, shape, layout):
    model = export(tmp_path / "in", dtype=torch.bfloat16, **shape)
    between = tmp_path / ("x.gguf" if layout == "gguf" else "x")
    convert(tmp_path / "in", between, to=layout)
    convert(between, tmp_path / "back", to="openqwen")
    assert_same_bits(weights_of(tmp_path / "back"), weights_of(tmp_path / "in"))
    checkpoint = read_checkpoint(between)
    assert checkpoint.config == model.config
    ids_BT = random_ids(1, 12, vocab_size=ROWS)
    again = checkpoint.load_model(dtype=torch.bfloat16)
    assert torch.equal(again(ids_BT), model(ids_BT))


def test_what_the_export_says_stays_in_an_export(tmp_path, capsys):
    model = export(tmp_path / "in")
    methods = LongContext(ntk=True, logn=True, windows=(8, 16, 64))
    write_export(tmp_path / "in", model, stop_ids=[258], eos_id=256, long_context=methods)
    convert(tmp_path / "in", tmp_path / "out", to="openqwen")
    assert read_checkpoint(tmp_path / "out").long_context == methods
    assert len(capsys.readouterr().out.splitlines()) == 1
    convert(tmp_path / "in", tmp_path / "x.gguf", to="gguf")
    out = capsys.readouterr().out
    assert out.startswith(SAID.format(*["a GGUF file"] * 2))
    assert "the schedule of layer-wise windows is left out: a GGUF file can't say it" in out


def test_large_models_are_cut_into_shards(tmp_path, monkeypatch):
    model = export(tmp_path / "in")
    write_shards = stream.write_shards
    monkeypatch.setattr(
        "openqwen.infer.convert.write_shards",
        lambda *given: write_shards(*given, shard_bytes=100_000),
    )
    convert(tmp_path / "in", tmp_path / "out", to="qwen2")
    shards = sorted(p.name for p in (tmp_path / "out").glob("*.safetensors"))
    assert len(shards) > 2
    assert shards[0] == f"model-00001-of-{len(shards):05}.safetensors"
    again = read_checkpoint(tmp_path / "out").load_model()
    for a, b in zip(again.parameters(), model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_another_type_only_where_it_is_asked_for_and_holds_the_values(tmp_path, capsys):
    model = export(tmp_path / "in")
    convert(tmp_path / "in", tmp_path / "half", to="qwen2", kind="bf16")
    expected = {n: t.bfloat16() for n, t in weights_of(tmp_path / "in").items()}
    assert_same_bits(weights_of(tmp_path / "half"), expected)
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    with torch.no_grad():
        model.lm_head.weight[0, 0] = 1e5
    write_export(tmp_path / "in", model, stop_ids=[258], eos_id=256)
    for layout in ("qwen2", "gguf"):
        with pytest.raises(UserError, match=r"1e\+05, too large for .*16; choose --type bf16"):
            convert(tmp_path / "in", tmp_path / "out", to=layout, kind="f16")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["half", "in"]  # nothing half-written


def test_quantised_weights_are_rounded_once_and_that_is_said(tmp_path, capsys):
    export(tmp_path / "in", hidden_size=64, num_attention_heads=4, head_dim=16)
    convert(tmp_path / "in", tmp_path / "x.gguf", to="gguf", kind="q8_0")
    out = capsys.readouterr().out
    assert "3 matrices are F16: their rows are no whole blocks of 32 weights, as Q8_0" in out
    convert(tmp_path / "x.gguf", tmp_path / "out", to="qwen2")
    said = "quantised weights are written out as bfloat16, rounded once (--type f32: exact)"
    assert said in capsys.readouterr().out
    exact = read_checkpoint(tmp_path / "x.gguf").load_model()
    rounded = read_checkpoint(tmp_path / "out").load_model()
    assert torch.equal(rounded.lm_head.weight, exact.lm_head.weight.bfloat16().float())


REFUSED = [
    ({"num_key_value_heads": 2}, "2 key and value heads for 6 query heads"),
    ({"num_key_value_heads": 6, "qkv_bias": False}, "no bias on queries, keys and values"),
    ({"num_key_value_heads": 6, "tie_word_embeddings": True}, "one matrix for embedding and out"),
]


@pytest.mark.parametrize(("shape", "message"), REFUSED)
def test_a_shape_that_qwen1_never_had_is_one_line(tmp_path, shape, message):
    export(tmp_path / "in", **shape)
    with pytest.raises(UserError, match=f"can't be written in Qwen-1's layout: it has {message}"):
        convert(tmp_path / "in", tmp_path / "out", to="qwen1")
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_the_command_line_refuses_in_one_line(tmp_path, capsys):
    export(tmp_path / "in")

    def refused(*arguments):
        assert main(["convert", *map(str, arguments)]) == 2
        return capsys.readouterr().err

    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("x")
    source = tmp_path / "in"
    assert "full exists and is not empty" in refused(source, tmp_path / "full", "--to", "qwen2")
    assert "name the file" in refused(source, tmp_path / "full", "--to", "gguf")
    assert "q8_0 is a type of GGUF files" in refused(
        source, tmp_path / "o", "--to", "qwen2", "--type", "q8_0"
    )
    assert "does not exist" in refused(tmp_path / "none", tmp_path / "o", "--to", "qwen2")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    assert "openqwen merge" in refused(adapter, tmp_path / "o", "--to", "qwen2")
    assert main(["convert", str(source), str(tmp_path / "o"), "--to", "qwen2"]) == 0


def test_a_model_without_a_tokenizer_is_converted_without_one(tmp_path, capsys):
    model = new_decoder(small_config(), seed=0)
    write_export(tmp_path / "in", model, stop_ids=[3])
    convert(tmp_path / "in", tmp_path / "x.gguf", to="gguf")
    assert "in has no tokenizer" in capsys.readouterr().out
    convert(tmp_path / "x.gguf", tmp_path / "out", to="openqwen")
    assert not list((tmp_path / "out").glob("*tok*"))
    assert_same_bits(weights_of(tmp_path / "out"), weights_of(tmp_path / "in"))
