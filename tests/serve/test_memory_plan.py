"""What a server's models will take, told before any is loaded, and their own system prompts."""

import pytest
import torch
from small_servers import write_endless
from tiny_exports import random_model, write

from openqwen.cli.main import main
from openqwen.infer.load import load
from openqwen.serve.config import ModelConfig
from openqwen.serve.default_system import default_system_of
from openqwen.serve.memory import plan_memory
from openqwen.serve.models import choose_system


@pytest.fixture(scope="module")
def endless(tmp_path_factory):
    return write_endless(tmp_path_factory.mktemp("endless") / "m")


@pytest.mark.parametrize("quantize", [None, "int8", "int4"])
def test_the_planned_bytes_are_those_of_the_loaded_model(endless, quantize, cache):
    [plan] = plan_memory([ModelConfig(path=str(endless), quantize=quantize)]).models
    lm = load(endless, quantize=quantize)
    tensors = {id(t): t for t in (*lm.model.parameters(), *lm.model.buffers())}
    assert plan.footprint.weight_bytes == sum(t.nbytes for t in tensors.values())
    engine, planned = lm.engine(), plan.footprint.engine
    assert planned.limit_bytes == engine.limit_bytes
    for tokens in (1, 33, 5000):
        assert planned.bytes_of(tokens) == engine.bytes_of(tokens)


def test_what_a_sequence_takes_bounds_what_the_engine_holds_for_it(endless):
    lm = load(endless)
    engine = lm.engine()
    engine.run([lm.request("a" * 40, max_new_tokens=200)])
    number = engine.add(lm.request("ab" * 300, max_new_tokens=100))
    most = 0
    while engine.is_busy:
        engine.step()
        block = engine.bytes_of(64) - engine.bytes_of(32)
        most = max(most, engine.stats().blocks_used * block)
    assert number
    assert 0 < most <= engine.bytes_of(700)


def test_the_plan_is_printed_and_nothing_is_loaded(endless, capsys, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "to_empty", _only_on_meta(torch.nn.Module.to_empty))
    assert main(["serve", str(endless), "--dry-run", "--kv-bytes", "200000000"]) == 0
    said = capsys.readouterr().out
    assert "m (3,738,624 parameters, float32, context 8,192 tokens)" in said
    for line in (
        "weights",
        "KV memory, at most",
        "sequences of the whole context",
        "total, at most",
    ):
        assert line in said


def _only_on_meta(original):
    def to_empty(self, *, device, recurse=True):
        assert torch.device(device).type == "meta", "weights were made room for"
        return original(self, device=device, recurse=recurse)

    return to_empty


def test_a_plan_that_cannot_fit_is_one_line(endless, capsys):
    assert main(["serve", str(endless), "--dry-run", "--kv-bytes", str(10**15)]) == 2
    said = capsys.readouterr()
    assert "total, at most" in said.out
    assert said.err.startswith("openqwen: this needs up to 1000.0 TB, and there are ")
    assert said.err.count("\n") == 1
    assert main(["serve", str(endless), "--dry-run", "--kv-bytes", "1000"]) == 2
    assert "kv_bytes = 1,000 holds no sequence at all; the least is" in capsys.readouterr().err


def test_several_models_share_the_default_kv_memory(tmp_path, endless):
    write(tmp_path / "other", random_model())
    one = plan_memory([ModelConfig(path=str(endless))])
    two = plan_memory([ModelConfig(path=str(endless)), ModelConfig(path=str(tmp_path / "other"))])
    limits = [plan.footprint.engine.limit_bytes for plan in two.models]
    whole = one.models[0].footprint.engine.limit_bytes
    assert sum(limits) == pytest.approx(whole, abs=2)


QWEN = """\
{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen.' }}
    {%- endif %}
{%- else %}
    {{- '<|im_start|>system\\nYou are Qwen.<|im_end|>\\n' }}
{%- endif %}
"""


@pytest.mark.parametrize(
    ("template", "system"),
    [
        (None, "You are a helpful assistant."),
        (QWEN, "You are Qwen."),
        ("{{ '<|im_start|>system\nBe kind.\nAlways.<|im_end|>\n' }}", "Be kind.\nAlways."),
        ("{{ '<|im_start|>' + message['role'] + '\n' }}", None),
        ("{{ '<|im_start|>system\n' + m.content + '<|im_end|>' }}", None),
        ("[INST] {{ messages[0]['content'] }} [/INST]", "You are a helpful assistant."),
    ],
)
def test_the_default_system_prompt_is_the_templates_own(template, system):
    assert default_system_of(template) == system


def test_the_user_has_the_last_word_on_the_system_prompt(endless):
    def chosen(text):
        return choose_system(ModelConfig(path=str(endless), default_system=text), endless)

    assert chosen("Be brief.") == "Be brief."
    assert chosen("none") is None
    assert chosen(None) == "You are a helpful assistant."


@pytest.mark.real
def test_the_real_models_own_system_prompt_is_found(coder05_path):
    from openqwen.serve.default_system import read_default_system

    assert read_default_system(coder05_path) == (
        "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
    )
