import subprocess
import sys

import pytest
import torch
from small_models import small_config

from openqwen.core.config import parse_config, to_plain
from openqwen.core.errors import UserError
from openqwen.model.config import (
    QWEN_1_8B,
    QWEN_7B,
    QWEN_14B,
    ModelConfig,
    count_non_embedding_parameters,
    count_parameters,
    ffn_width,
    qwen_config,
)
from openqwen.model.decoder import Decoder

TABLE_1 = [  # hidden, heads, layers, FFN, parameters (spec.md §4)
    (QWEN_1_8B, 2048, 16, 24, 5504, 1_836_828_672),
    (QWEN_7B, 4096, 32, 32, 11008, 7_721_324_544),
    (QWEN_14B, 5120, 40, 40, 13696, 14_167_290_880),
]


@pytest.mark.parametrize(("config", "hidden", "heads", "layers", "ffn", "parameters"), TABLE_1)
def test_presets_have_the_shape_and_the_count_of_table_1(
    config, hidden, heads, layers, ffn, parameters
):
    assert (config.hidden_size, config.num_attention_heads) == (hidden, heads)
    assert (config.num_hidden_layers, config.intermediate_size) == (layers, ffn)
    assert (config.head_dim, config.rope_theta, config.rms_norm_eps) == (128, 1e4, 1e-6)
    assert config.qkv_bias
    assert not config.tie_word_embeddings
    assert count_parameters(config) == parameters
    with torch.device("meta"):
        model = Decoder(config)
    assert sum(p.numel() for p in model.parameters()) == parameters


@pytest.mark.parametrize(
    "changes", [{}, {"tie_word_embeddings": True}, {"qkv_bias": False}, {"num_key_value_heads": 1}]
)
def test_the_count_is_that_of_the_model_at_any_shape(changes):
    config = small_config(**changes)
    with torch.device("meta"):
        model = Decoder(config)
    assert count_parameters(config) == sum(p.numel() for p in model.parameters())
    outside = sum(p.numel() for p in model.layers.parameters()) + model.norm.weight.numel()
    assert count_non_embedding_parameters(config) == outside


def test_ffn_width_is_8_thirds_rounded_up_to_128():
    assert [ffn_width(n) for n in (48, 256, 2048, 4096, 5120)] == [128, 768, 5504, 11008, 13696]


def test_impossible_shapes_name_the_key():
    fine = to_plain(
        qwen_config(hidden_size=64, num_attention_heads=4, num_hidden_layers=2, vocab_size=100)
    )
    for changes, message in (
        ({"num_key_value_heads": 3}, "num_key_value_heads = 3 must divide 4 query heads"),
        ({"hidden_size": 60}, "4 × 16 must equal hidden_size = 60"),
        ({"head_dim": 5, "hidden_size": 20}, "head_dim = 5 must be even"),
        ({"num_hidden_layers": 0}, "num_hidden_layers = 0 is not valid"),
        ({"hiden_size": 64}, "did you mean hidden_size?"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            parse_config(ModelConfig, fine | changes, where="my.toml")


def test_a_free_head_size_is_only_for_models_without_bias():
    assert small_config(qkv_bias=False, head_dim=16).head_dim == 16


def test_settings_import_without_torch():
    code = "import sys, openqwen.model.config, openqwen.infer.config; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
