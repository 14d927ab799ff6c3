"""The real Qwen2.5-Coder-0.5B-Instruct (Q4_K_M) against numbers recorded from other programs.

`data/coder05.*` holds checksums of all 291 dequantised tensors, and the top 20 logits of four texts
with their greedy continuations, from the transformers library in float32.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from openqwen.model.formats.directory import read_checkpoint
from openqwen.tokenizer.tokenizer import Tokenizer

pytestmark = pytest.mark.real
HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "data" / "coder05.json").read_text(encoding="utf-8"))
CASES = RECORDED["cases"]


@pytest.fixture(scope="module")
def path(coder05_path):
    return coder05_path


@pytest.fixture(scope="module")
def model(path):
    return read_checkpoint(path).load_model()


@pytest.fixture(scope="module")
def numbers():
    return load_file(HERE / "data" / "coder05.safetensors")


def test_the_shape_and_the_ends_are_the_files(path):
    checkpoint = read_checkpoint(path)
    config = checkpoint.config
    assert (config.num_hidden_layers, config.hidden_size, config.head_dim) == (24, 896, 64)
    assert (config.num_attention_heads, config.num_key_value_heads) == (14, 2)
    assert (config.intermediate_size, config.vocab_size) == (4864, 151_936)
    assert (config.rope_theta, config.rms_norm_eps) == (1e6, 1e-6)
    assert not config.tie_word_embeddings
    assert checkpoint.context == 32_768
    assert checkpoint.stop_ids == (151_643, 151_645)
    assert "<|im_start|>" in checkpoint.chat_template


def test_every_tensor_is_dequantised_bit_for_bit(path):
    source = read_checkpoint(path).open_weights()
    assert set(source.names()) == set(RECORDED["tensors"])
    for name, recorded in RECORDED["tensors"].items():
        kind, shape, total, squares, largest, first, last = recorded
        values = source.read(name)
        assert list(values.shape) == shape
        assert (source.dtype(name) is None) == (kind != "F32")
        flat = values.flatten()
        assert flat[: len(first)].tolist() == first, name
        assert flat[-len(last) :].tolist() == last, name
        wide = flat.double()
        assert wide.abs().max().item() == largest, name
        assert wide.square().sum().item() == pytest.approx(squares, rel=1e-12), name
        assert wide.sum().item() == pytest.approx(total, rel=1e-9, abs=1e-9 * squares), name


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_recorded(model, numbers, name):
    with torch.no_grad():
        logits_TV = model(torch.tensor([CASES[name]["ids"]]))[0]
    found = logits_TV.gather(1, numbers[f"{name}.top20_ids"].long())
    torch.testing.assert_close(found, numbers[f"{name}.top20_values"], atol=1e-4, rtol=0)
    torch.testing.assert_close(
        logits_TV.logsumexp(1), numbers[f"{name}.logsumexp"], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("name", CASES)
def test_greedy_continuations_are_those_recorded(model, name):
    """One pass over prompt and continuation: each recorded id is the argmax before it."""
    case = CASES[name]
    ids = case["ids"] + case["greedy_ids"]
    with torch.no_grad():
        best = model(torch.tensor([ids]))[0].argmax(1).tolist()
    before = len(case["ids"]) - 1
    sure = next((i for i, m in enumerate(case["margins"]) if m < 2e-4), len(case["greedy_ids"]))
    assert best[before : before + sure] == case["greedy_ids"][:sure]
    assert sure == len(case["greedy_ids"]) or name not in ("code_def", "chatml_en")


def test_the_tokenizer_inside_gives_the_recorded_ids(path):
    tokenizer = Tokenizer.from_file(path)
    assert tokenizer.control_tokens["<tool_call>"] == 151_657
    assert tokenizer.control_tokens["<|fim_prefix|>"] == 151_659
    assert "<|extra_0|>" not in tokenizer.control_tokens
    assert tokenizer.nfc
    for case in CASES.values():
        assert tokenizer.encode(case["text"], allowed_special="all") == case["ids"]
        assert tokenizer.decode(case["greedy_ids"]) == case["greedy_text"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_loading_takes_no_more_anonymous_memory_than_115_percent_of_the_weights(path):
    done = subprocess.run(
        [sys.executable, HERE / "memory_of_loading.py", path],
        check=True,
        capture_output=True,
        text=True,
    )
    cost = json.loads(done.stdout)
    assert cost["after"] >= 0.95 * cost["weights"]  # it did fill them
    assert cost["peak"] <= 1.15 * cost["weights"]


def test_a_loaded_model_ends_replies_where_its_file_says(path):
    import openqwen

    assert openqwen.load(path, dtype="bfloat16").stop_ids == (151_643, 151_645)
