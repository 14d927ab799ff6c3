"""Published training runs beside which `openqwen plan` is put: calibration and held out.

Taken: dense decoders in bfloat16 on devices of the plan's table, spread in ways that our mesh can
express (no pipeline), with tokens a second published. Of long tables one row a model size. Left
out: GPU-hours of whole projects, which hold failures and evaluations, and rows whose shape is not
given; nothing was left out for its error. GPT models with two matrices in the feed-forward network
are given as gated ones of as many parameters.
"""

from dataclasses import dataclass, replace

from openqwen.model.config import ModelConfig
from openqwen.parallel.plan_devices import Device, find_device
from openqwen.parallel.plan_layout import Job, Layout

FOUNDRY = "github.com/mosaicml/llm-foundry, scripts/train/benchmarking/README.md"
FMS = "github.com/foundation-model-stack/fms-fsdp, README.md"
KEMPNER = "github.com/KempnerInstitute/KempnerForge, benchmarks/mfu_scaling"
TITAN = "github.com/pytorch/torchtitan"


@dataclass(frozen=True)
class Published:
    """One published run.

    Attributes:
        name: model and who ran it.
        job: the run.
        layout: as published; None where it is not, and the plan's own choice is taken.
        tokens_per_s: a device, as published.
        source: where.
        kind: "calibration" (the first round's held-out runs, from which the constants of the second
            were fitted) or "held out" (read after those were committed).
        note: what the plan does not know of it.
    """

    name: str
    job: Job
    layout: Layout | None
    tokens_per_s: float
    source: str
    kind: str = "calibration"
    note: str = ""


def llama(
    hidden: int, layers: int, heads: int, ffn: int, vocab: int = 32_000, kv_heads: int = 0
) -> ModelConfig:
    return ModelConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads or heads,
        head_dim=hidden // heads,
        intermediate_size=ffn,
        qkv_bias=False,
    )


def mpt(hidden: int, layers: int) -> ModelConfig:
    """An MPT model: tied, FFN of two matrices, 4 times as wide."""
    plain = llama(hidden, layers, hidden // 128, round(8 * hidden / 3), vocab=50_368)
    return plain.model_copy(update={"tie_word_embeddings": True})


MPT_1B, MPT_3B, MPT_7B = mpt(2048, 24), mpt(2560, 32), mpt(4096, 32)
MPT_13B, MPT_30B, MPT_70B = mpt(5120, 40), mpt(7168, 48), mpt(8192, 80)
LLAMA_7B, LLAMA_13B = llama(4096, 32, 32, 11_008), llama(5120, 40, 40, 13_824)
LLAMA_65B = llama(8192, 80, 64, 22_016)
LLAMA2_34B = llama(8192, 48, 64, 22_016, kv_heads=8)
LLAMA2_70B = llama(8192, 80, 64, 28_672, kv_heads=8)
LLAMA3_8B = llama(4096, 32, 32, 14_336, vocab=128_256, kv_heads=8)
LLAMA3_13B = llama(5120, 40, 40, 17_920, vocab=128_256, kv_heads=8)  # KempnerForge's own
LLAMA3_70B = llama(8192, 80, 64, 28_672, vocab=128_256, kv_heads=8)
TINYLLAMA = llama(2048, 22, 32, 5632, kv_heads=4)
OLMO_1B = llama(2048, 18, 16, 5632, vocab=100_352)
OLMO_7B = llama(4096, 32, 32, 11_008, vocab=100_352)
OLMO_13B = llama(5120, 40, 40, 13_824, vocab=100_352)
SMOLLM3 = llama(2048, 36, 16, 11_008, vocab=128_256, kv_heads=4)
NANOCHAT_D20 = llama(1280, 20, 10, round(8 * 1280 / 3), vocab=65_536)
GPT_175B = llama(12_288, 96, 96, 39_680, vocab=128_256, kv_heads=8)  # KempnerForge's own


def published() -> list[Published]:
    """Return all rows, those held out last."""
    return [*_seen(), *_a100(), *_h100(), *_h200(), *_held_out()]


def _row(
    name: str,
    config: ModelConfig,
    device: Device,
    layout: Layout,
    length: int,
    accumulated: int,
    tokens_per_s: float,
    source: str,
    **more: str,
) -> Published:
    sequences = layout.data_ranks * layout.micro_sequences * accumulated
    job = Job(config, device, layout.num_devices, length, sequences)
    return Published(name, job, layout, tokens_per_s, source, **more)


def _with_network(name: str, gigabits_a_node: float) -> Device:
    device = find_device(name)
    rate = gigabits_a_node * 1e9 / 8 / device.devices_per_node
    return replace(device, inter_node_bytes_per_s=rate)


def _sharded(shard: int, micro: int, recompute: str = "none", tensor: int = 1) -> Layout:
    return Layout(shard=shard, tensor=tensor, micro_sequences=micro, recompute=recompute)


def _seen() -> list[Published]:
    a100, h100 = find_device("a100-80g"), find_device("h100-80g")
    performance = TITAN + ", docs/performance.md"
    weak = "500 W, HBM2e"
    return [
        _row("Llama 3 8B, torchtitan", LLAMA3_8B, a100, _sharded(64, 1), 8192, 1, 2973,
             performance, note="half the products recomputed"),
        _row("Llama 3 70B, torchtitan", LLAMA3_70B, a100, _sharded(64, 1, "layer"), 8192, 1, 331,
             performance),
        _row("Llama 3 8B, torchtitan", LLAMA3_8B, h100, _sharded(8, 2), 8192, 1, 6667,
             performance, note=weak),
    ]  # fmt: skip


def _a100() -> list[Published]:
    a100, small = find_device("a100-80g"), find_device("a100-40g")
    slow = _with_network("a100-80g", 400)
    hybrid = Layout(replicate=16, shard=8, micro_sequences=2)
    llama_65b = Job(LLAMA_65B, a100, 2048, 2048, 2048)
    return [
        _row("MPT 3B, MosaicML", MPT_3B, a100, _sharded(8, 3), 8192, 6, 7695, FOUNDRY),
        _row("MPT 7B, MosaicML", MPT_7B, a100, _sharded(8, 6), 2048, 2, 4641, FOUNDRY),
        _row("MPT 13B, MosaicML", MPT_13B, a100, _sharded(8, 2), 2048, 3, 2262, FOUNDRY),
        _row("MPT 30B, MosaicML", MPT_30B, a100, _sharded(8, 3, "layer"), 2048, 21, 916, FOUNDRY),
        _row("MPT 70B, MosaicML", MPT_70B, a100, _sharded(64, 8, "layer"), 2048, 4, 410, FOUNDRY),
        _row("Llama 2 7B, IBM", LLAMA_7B, slow, hybrid, 4096, 1, 3700, FMS),
        _row("Llama 2 13B, IBM", LLAMA_13B, slow, _sharded(128, 2), 4096, 1, 1800, FMS,
             note="some layers recomputed"),
        _row("Llama 2 34B, IBM", LLAMA2_34B, slow, _sharded(128, 8, "layer"), 4096, 1, 772, FMS),
        _row("Llama 2 70B, IBM", LLAMA2_70B, slow, _sharded(128, 6, "layer"), 4096, 1, 380, FMS),
        Published("LLaMA 65B, Meta", llama_65b, None, 380, "arXiv 2302.13971, §2.4",
                  note="layout not published"),
        _row("TinyLlama 1.1B", TINYLLAMA, small, _sharded(16, 8), 2048, 8, 24_000,
             "github.com/jzhang38/TinyLlama, README.md"),
        _row("MPT 7B, MosaicML", MPT_7B, small, _sharded(128, 18, "layer"), 2048, 1, 3623, FOUNDRY),
        _row("MPT 13B, MosaicML", MPT_13B, small, _sharded(128, 16, "layer"), 2048, 1, 1972,
             FOUNDRY),
    ]  # fmt: skip


def _h100() -> list[Published]:
    h100, slow = find_device("h100-80g"), _with_network("h100-80g", 800)
    hybrid = Layout(replicate=12, shard=8, micro_sequences=2)
    async_tp = TITAN + ", benchmarks/asyncTP_llama3_h100_2025-06_torchtitan.md"
    weak = "500 W, HBM2e"
    return [
        _row("MPT 1B, MosaicML", MPT_1B, h100, _sharded(64, 20), 2048, 1, 44_402, FOUNDRY),
        _row("MPT 3B, MosaicML", MPT_3B, h100, _sharded(8, 3), 8192, 6, 16_578, FOUNDRY),
        _row("MPT 7B, MosaicML", MPT_7B, h100, _sharded(8, 6), 2048, 1, 10_643, FOUNDRY),
        _row("MPT 13B, MosaicML", MPT_13B, h100, _sharded(64, 2), 2048, 1, 4800, FOUNDRY),
        _row("MPT 30B, MosaicML", MPT_30B, h100, _sharded(32, 14, "layer"), 2048, 3, 2308, FOUNDRY),
        _row("MPT 70B, MosaicML", MPT_70B, h100, _sharded(64, 8, "layer"), 2048, 4, 1039, FOUNDRY),
        _row("Llama 2 7B, IBM", LLAMA_7B, slow, hybrid, 4096, 1, 7500, FMS),
        _row("Llama 2 13B, IBM", LLAMA_13B, slow, _sharded(96, 2), 4096, 1, 3800, FMS,
             note="some layers recomputed"),
        _row("Llama 2 34B, IBM", LLAMA2_34B, slow, _sharded(96, 2, "layer"), 4096, 1, 1550, FMS),
        _row("Llama 3 8B, torchtitan", LLAMA3_8B, h100, _sharded(8, 12, tensor=8), 8192, 1, 4378,
             async_tp, note=weak),
        _row("Llama 3 70B, torchtitan", LLAMA3_70B, h100, _sharded(32, 16, "layer", 8), 8192, 1,
             597, async_tp, note=weak),
    ]  # fmt: skip


def _h200() -> list[Published]:
    h200 = replace(find_device("h200"), devices_per_node=4)
    alone = _sharded(1, 4, "layer")
    return [
        _row("Llama 3 8B, Kempner", LLAMA3_8B, h200, alone, 4096, 2, 10_471, KEMPNER),
        _row("Llama 3 8B, Kempner", LLAMA3_8B, h200, _sharded(4, 4, "layer"), 4096, 2, 38_983 / 4,
             KEMPNER),
        _row("Llama 3 8B, Kempner", LLAMA3_8B, h200, _sharded(1, 4, "layer", 4), 4096, 2,
             25_135 / 4, KEMPNER),
        _row("Llama 3 13B, Kempner", LLAMA3_13B, h200, _sharded(8, 4, "layer"), 4096, 4, 35_405 / 8,
             KEMPNER, note="not compiled"),
        _row("Llama 3 13B, Kempner", LLAMA3_13B, h200, _sharded(8, 4, "layer", 4), 4096, 4,
             104_309 / 32, KEMPNER),
        _row("Llama 3 70B, Kempner", LLAMA3_70B, h200, _sharded(8, 2, "layer", 4), 4096, 4,
             17_657 / 32, KEMPNER),
    ]  # fmt: skip


def _held_out() -> list[Published]:
    """Return what was read after the second round's constants were committed."""
    a100, h100 = find_device("a100-80g"), find_device("h100-80g")
    h200 = replace(find_device("h200"), devices_per_node=4)
    weak = KEMPNER.replace("mfu_scaling", "weak_scaling_160gpu")
    olmo, late = "pypi.org/project/ai2-olmo-core/1.2.0", "pypi.org/project/ai2-olmo-core/1.6.3"
    hours = 25_583 / 3600  # from the tokenizer's report to the base model's, evaluations included
    nanochat = 21_400 * 524_288 / 8 / (hours * 3600)
    copies = Layout(replicate=192, tensor=2, micro_sequences=3)
    unknown = "number of GPUs and layout not published: 64, the plan's choice"

    def olmo_job(config: ModelConfig) -> Job:
        return Job(config, h100, 64, 4096, 1024)

    rows = [
        Published("OLMo 1B, AI2", olmo_job(OLMO_1B), None, 46_000, olmo, note=unknown),
        Published("OLMo 7B, AI2", olmo_job(OLMO_7B), None, 9850, olmo, note=unknown),
        Published("OLMo 13B, AI2", olmo_job(OLMO_13B), None, 4500, olmo, note=unknown),
        Published("OLMo 1B, AI2, later", olmo_job(OLMO_1B), None, 55_000, late, note=unknown),
        _row("SmolLM3 3B, Hugging Face", SMOLLM3, h100, copies, 4096, 1, 14_000,
             "tzafon.ai/blog/breaking-40k-tokens", note="optimiser sharded, nanotron"),
        _row("nanochat d20, 561 M", NANOCHAT_D20, a100, Layout(replicate=8, micro_sequences=32),
             2048, 1, nanochat, "huggingface.co/sampathchanda/nanochat-d20, report.md",
             note="from its time stamps; Muon"),
        _row("Llama 3 13B, Kempner", LLAMA3_13B, h200, _sharded(2, 4, "layer", 4), 4096, 4,
             29_860 / 8, weak),
        _row("Llama 3 13B, Kempner", LLAMA3_13B, h200, _sharded(40, 4, "layer", 4), 4096, 4,
             534_644 / 160, weak),
        _row("Llama 3 70B, Kempner", LLAMA3_70B, h200, _sharded(2, 2, "layer", 4), 4096, 4,
             3623 / 8, weak, note="memory nearly full"),
        _row("Llama 3 70B, Kempner", LLAMA3_70B, h200, _sharded(40, 2, "layer", 4), 4096, 4,
             85_571 / 160, weak),
        _row("GPT 175B, Kempner", GPT_175B, h200, _sharded(90, 8, "layer", 4), 4096, 1,
             154_523 / 360, KEMPNER.replace("mfu_scaling", "175b_360gpu")),
    ]  # fmt: skip
    return [replace(row, kind="held out") for row in rows]
