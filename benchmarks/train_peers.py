"""The peers of train_speed.py, each in a process and, where asked, an environment of its own.

    PEER_PYTHON train_peers.py --job JSON        # impl: one of PEERS; compiled: true or false

Imports nothing of openqwen. Every peer trains the same shape on the same random batches: float32
parameters, bfloat16 under autocast, fused AdamW, clipping at 1, all threads. Compiled is the model
and its loss in one torch.compile. The losses are the peers' own ways; `PEERS` says which others
were tried.
"""

import sys
from importlib.metadata import version

import torch
from torch.nn import functional
from train_turns import Trainee, serve_trainee

DTYPE = torch.bfloat16


def transformers_model(job):
    """Qwen2 as the library has it, attention by SDPA."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=job["vocab_size"],
        hidden_size=job["hidden_size"],
        intermediate_size=job["intermediate_size"],
        num_hidden_layers=job["num_hidden_layers"],
        num_attention_heads=job["num_attention_heads"],
        num_key_value_heads=job["num_attention_heads"],
        max_position_embeddings=job["context"],
        tie_word_embeddings=False,
        use_cache=False,
        attn_implementation="sdpa",
    )
    return Qwen2ForCausalLM(config)


def transformers_loss(model, inputs_BT, targets_BT):
    """The library's own loss: logits copied to float32, then cross-entropy."""
    return model(input_ids=inputs_BT, labels=targets_BT, shift_labels=targets_BT).loss


def transformers_plain_loss(model, inputs_BT, targets_BT):
    """Cross-entropy on the logits as the model returns them, in bfloat16, without the copy."""
    logits_BTV = model(input_ids=inputs_BT).logits
    with torch.autocast("cpu", enabled=False):
        return functional.cross_entropy(logits_BTV.flatten(0, 1), targets_BT.flatten())


def litgpt_model(job):
    """GPT of litgpt in the shape of Qwen2."""
    from litgpt import GPT, Config

    config = Config(
        block_size=job["context"],
        n_layer=job["num_hidden_layers"],
        n_head=job["num_attention_heads"],
        n_embd=job["hidden_size"],
        vocab_size=job["vocab_size"],
        padded_vocab_size=job["vocab_size"],
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        attn_bias=True,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
        intermediate_size=job["intermediate_size"],
    )
    model = GPT(config)
    model.apply(model._init_weights)
    return model


def litgpt_chunked_loss(model, inputs_BT, targets_BT):
    """The loss of litgpt's pretraining: cross-entropy in chunks of 128 rows."""
    from litgpt.utils import chunked_cross_entropy

    return chunked_cross_entropy(model(inputs_BT), targets_BT)


def litgpt_whole_loss(model, inputs_BT, targets_BT):
    """The same function's other setting: one piece."""
    from litgpt.utils import chunked_cross_entropy

    return chunked_cross_entropy(model(inputs_BT), targets_BT, chunk_size=0)


def nanochat_model(job):
    """GPT of a nanochat clone; its feed-forward has as many weights as ours (8 D²)."""
    sys.path.insert(0, job["nanochat"])
    from nanochat.gpt import GPT, GPTConfig

    known = {
        "sequence_len": job["context"],
        "vocab_size": job["vocab_size"],
        "n_layer": job["num_hidden_layers"],
        "n_head": job["num_attention_heads"],
        "n_kv_head": job["num_attention_heads"],
        "n_embd": job["hidden_size"],
        "window_pattern": "L",  # every layer attends to all, as the others do
    }
    fields = GPTConfig.__dataclass_fields__
    model = GPT(GPTConfig(**{name: value for name, value in known.items() if name in fields}))
    model.init_weights()
    return model.float()


def nanochat_loss(model, inputs_BT, targets_BT):
    """Its own loss: logits capped and compared in float32."""
    return model(inputs_BT, targets_BT)


# package, model, loss. Compiled, transformers' own loss is as fast as bfloat16's and more exact
# (whose first loss is 10.5 where 10.48 is right), and litgpt's in one piece a little faster than
# its chunks, in three quarters of the memory
PEERS = {
    "transformers": ("transformers", transformers_model, transformers_loss),
    "transformers-bf16-loss": ("transformers", transformers_model, transformers_plain_loss),
    "litgpt": ("litgpt", litgpt_model, litgpt_whole_loss),
    "litgpt-chunked-loss": ("litgpt", litgpt_model, litgpt_chunked_loss),
    "nanochat": ("", nanochat_model, nanochat_loss),
}


class Peer(Trainee):
    """One peer's model, loss and optimiser."""

    def __init__(self, job):
        package, model_of, loss_of = PEERS[job["impl"]]
        torch.set_num_threads(job["threads"])
        torch.manual_seed(0)
        self.model = model_of(job).train()
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.adamw = torch.optim.AdamW(
            self.parameters, lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True
        )

        def forward(inputs_BT, targets_BT):
            return loss_of(self.model, inputs_BT, targets_BT)

        self.forward = torch.compile(forward) if job["compiled"] else forward
        self.versions = {"torch": torch.__version__}
        if package:
            self.versions[package] = version(package)

    def name_parts(self):
        """Let compiled kernels be seen one by one."""
        from torch._inductor import config

        config.cpp.enable_kernel_profile = True

    def step(self, inputs_BT, targets_BT):
        self.adamw.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=DTYPE):
            loss = self.forward(inputs_BT, targets_BT)
        loss.backward()
        with torch.profiler.record_function("part:optimiser"):
            torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
            self.adamw.step()
        return float(loss.detach())


if __name__ == "__main__":
    serve_trainee(Peer)
