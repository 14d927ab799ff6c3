"""Adapters made by the PEFT library, each kind that we read, and how they are recorded.

    python tests/model/peft_cases.py        # writes data/peft_adapters.{json,safetensors}

Needs `pip install --no-deps peft accelerate`; the tests of the recorded ones need neither.
"""

import json
import tempfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from openqwen.model.config import qwen_config
from openqwen.model.decoder import new_decoder
from openqwen.model.formats.export import write_export

RECORDED = Path(__file__).parent / "data" / "peft_adapters"
VOCAB, NEW = 64, (60, 61)
IDS = torch.tensor([[3, 60, 14, 15, 61, 9, 2, 6, 53, 5, 8, 60]])
EMBEDDINGS = ["embed_tokens", "lm_head"]
ATTENTION = ["q_proj", "k_proj", "v_proj"]
CASES = {
    "two parts of a packed matrix": {"target_modules": ["q_proj", "v_proj"]},
    "all parts, A's that differ": {"target_modules": [*ATTENTION, "gate_proj", "up_proj"]},
    "scaled by the root of the rank": {"target_modules": ATTENTION, "use_rslora": True},
    "patterns of ranks and alphas": {
        "target_modules": [*ATTENTION, "o_proj", "down_proj"],
        "rank_pattern": {"k_proj": 2, "model.layers.1.self_attn.q_proj": 5},
        "alpha_pattern": {"v_proj": 3, "^model.layers.1.*down_proj": 5},
    },
    "one layer": {"target_modules": ["up_proj"], "layers_to_transform": [1]},
    "embedding and projection": {"target_modules": ["o_proj"], "modules_to_save": EMBEDDINGS},
    "both, kept tied": {
        "target_modules": ["o_proj"],
        "modules_to_save": EMBEDDINGS,
        "ensure_weight_tying": True,
    },
    "embedding": {"target_modules": ["o_proj"], "modules_to_save": ["embed_tokens"]},
    "embedding, kept tied": {
        "target_modules": ["o_proj"],
        "modules_to_save": ["embed_tokens"],
        "ensure_weight_tying": True,
    },
    "projection": {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]},
    "rows": {"target_modules": ["o_proj"], "trainable_token_indices": list(NEW)},
    "rows of both": {
        "target_modules": ["o_proj"],
        "trainable_token_indices": {"embed_tokens": list(NEW), "lm_head": list(NEW)},
    },
    "other rows of each": {
        "target_modules": ["o_proj"],
        "trainable_token_indices": {"embed_tokens": list(NEW), "lm_head": [7]},
    },
}


def shape_of(*, tied):
    """Return the base's shape: grouped queries, so that q, k and v differ in size."""
    plain = qwen_config(
        hidden_size=16,
        num_attention_heads=4,
        num_hidden_layers=2,
        vocab_size=VOCAB,
        train_length=32,
    )
    grouped = {"num_key_value_heads": 2, "intermediate_size": 24, "tie_word_embeddings": tied}
    return plain.model_copy(update=grouped)


def write_base(directory, *, tied):
    """Write the base's export directory and return the model."""
    base = new_decoder(shape_of(tied=tied), seed=0)
    write_export(directory, base, stop_ids=[NEW[1]])
    return base


def make_adapter(case, base, out):
    """Make an adapter with PEFT, give it values and save it; return the logits PEFT gives."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(7)  # PEFT draws A from the global generator
    config = LoraConfig(r=3, lora_alpha=6, task_type="CAUSAL_LM", **CASES[case])
    model = get_peft_model(their_base(base), config)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.2, generator=generator))
        logits = model.eval()(IDS).logits
    model.save_pretrained(out)
    return logits


def load_with_peft(base, adapter):
    """Return the logits of an adapter directory as PEFT loads it, merged and unmerged."""
    from peft import PeftModel

    model = PeftModel.from_pretrained(their_base(base), adapter).eval()
    with torch.no_grad():
        unmerged = model(IDS).logits
        return unmerged, model.merge_and_unload()(IDS).logits


def their_base(directory):
    """Return the transformers library's model of a directory, float32."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def record():
    """Write every case with a tied and an untied base: settings, tensors and logits."""
    import peft

    settings = {"peft": peft.__version__, "cases": {}}
    tensors = {}
    for tied in (False, True):
        for case in CASES:
            with tempfile.TemporaryDirectory() as folder:
                base, out = Path(folder) / "base", Path(folder) / "adapter"
                write_base(base, tied=tied)
                key = f"{case}, {'tied' if tied else 'untied'}"
                tensors[f"{key}|logits"] = make_adapter(case, base, out)
                for name, tensor in load_file(out / "adapter_model.safetensors").items():
                    tensors[f"{key}|{name}"] = tensor
                config = json.loads((out / "adapter_config.json").read_text())
                config["target_modules"].sort()
                settings["cases"][key] = config | {"base_model_name_or_path": "../base"}
    save_file(tensors, RECORDED.with_suffix(".safetensors"))
    RECORDED.with_suffix(".safetensors").chmod(0o644)
    RECORDED.with_suffix(".json").write_text(json.dumps(settings, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    record()
