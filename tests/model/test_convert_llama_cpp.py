"""Our GGUF files in llama.cpp itself (the wheel `xllamacpp`): log-probabilities and greedy tokens.

It runs in a process of its own, with a float32 cache and without flash attention.
"""

import importlib.util
import json
import subprocess
import sys

import pytest
import torch
from small_models import (
    QWEN1_CONFIG,
    Qwen1Directory,
    qwen1_tensors,
    random_ids,
    roughen,
    small_config,
)

from openqwen.infer.convert import convert
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.directory import read_checkpoint
from openqwen.model.formats.export import write_export
from openqwen.tokenizer.tokenizer import Tokenizer

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(
        importlib.util.find_spec("xllamacpp") is None,
        reason="llama.cpp is not installed (pip install xllamacpp)",
    ),
]
ROWS = 512
RUN = """
import json, sys, xllamacpp as x
job = json.load(sys.stdin)
p = x.CommonParams()
p.model.path, p.n_ctx, p.n_parallel, p.warmup, p.verbosity = job["model"], 256, 1, False, 0
p.cache_type_k = p.cache_type_v = x.ggml_type.GGML_TYPE_F32
p.flash_attn_type = x.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server = x.Server(p)
answers = []
for prompt in job["prompts"]:
    answer = server.handle_completions({
        "prompt": prompt, "n_predict": job["count"], "temperature": 0, "n_probs": job["top"],
        "cache_prompt": False,
    })
    steps = (answer["choices"][0].get("logprobs") or {}).get("content", [])
    answers.append([[(t["id"], t["logprob"]) for t in step["top_logprobs"]] for step in steps])
print("ANSWERS" + json.dumps(answers))
"""


def llama_cpp(path, prompts, *, count, top):
    """For each prompt and step the (id, log-probability) of the likeliest tokens, best first."""
    job = {"model": str(path), "prompts": prompts, "count": count, "top": top}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        input=json.dumps(job), capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.split("ANSWERS")[1])


@torch.no_grad()
def largest_difference(model, prompt, steps):
    """The largest difference of log-probabilities, fed with llama.cpp's own greedy tokens."""
    ids = prompt + [step[0][0] for step in steps[:-1]]
    ours_TV = model(torch.tensor([ids]))[0, len(prompt) - 1 :].float().log_softmax(-1)
    assert [int(row.argmax()) for row in ours_TV] == [step[0][0] for step in steps]
    return max(
        abs(ours_TV[place, token].item() - logprob)
        for place, step in enumerate(steps)
        for token, logprob in step
    )


def write_model(directory, kind):
    tokenizer = Tokenizer({bytes([i]): i for i in range(256)})
    if kind == "qwen1":
        config = QWEN1_CONFIG | {"vocab_size": ROWS, "seq_length": 256}
        Qwen1Directory(directory, config, qwen1_tensors(config))
    else:
        shape = {"hidden_size": 64, "num_attention_heads": 4, "head_dim": 16}
        if kind == "llama":
            shape |= {"head_dim": 32, "qkv_bias": False, "rope_theta": 5e5}
        shape |= {"vocab_size": ROWS, "intermediate_size": 96, "train_length": 256}
        config = small_config(tie_word_embeddings=kind == "tied", **shape)
        model = roughen(new_decoder(config, seed=1))
        write_export(directory, model, stop_ids=tokenizer.stop_ids, eos_id=tokenizer.eos_id)
    tokenizer.save(directory)
    return directory


@pytest.mark.parametrize("kind", ["qwen1", "grouped", "tied", "llama"])
@torch.no_grad()
def test_llama_cpp_gives_our_log_probabilities(tmp_path, kind):
    source = write_model(tmp_path / "in", kind)
    # ggml rounds activations as it does weights, so these are shares of the logits' own spread
    shares = {"f32": 1e-5, "f16": 0.003, "bf16": 0.02, "q8_0": 0.08}
    prompts = random_ids(8, 5, vocab_size=ROWS).tolist()
    for type_name, share in shares.items():
        path = tmp_path / f"{type_name}.gguf"
        convert(source, path, to="gguf", kind=type_name)
        model = read_checkpoint(path).load_model()
        answers = zip(prompts, llama_cpp(path, prompts, count=2, top=ROWS), strict=True)
        # its server joins the steps of a character in pieces and stops at an end: no match by place
        whole = [(prompt, steps) for prompt, steps in answers if len(steps) == 2]
        assert len(whole) >= 2
        for prompt, steps in whole:
            ours_V = model(torch.tensor([prompt]))[0, -1].log_softmax(-1)
            theirs_V = torch.tensor([logprob for _, logprob in sorted(steps[0])])
            error = (theirs_V - ours_V).square().mean().sqrt() / ours_V.std()
            assert error < share, type_name
            if type_name == "f32":
                assert largest_difference(model, prompt, steps) < 5e-5


def test_the_real_model_as_q8_0_says_the_same_in_llama_cpp(coder05_path, tmp_path):
    path = tmp_path / "coder.gguf"
    convert(coder05_path, path, to="gguf", kind="q8_0")
    tokenizer = Tokenizer.from_file(path)
    prompts = [tokenizer.encode("def fibonacci(n):\n")]
    steps = llama_cpp(path, prompts, count=16, top=5)[0]
    assert len(steps) == 16
    model = read_checkpoint(path).load_model()
    assert largest_difference(model, prompts[0], steps) < 0.5
