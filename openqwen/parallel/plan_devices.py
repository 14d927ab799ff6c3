"""What training devices can do, from their makers' data sheets, and the one constant of each.

    device = find_device("h100-80g")
    device.peak_flops_per_s            # 989.4e12: dense bfloat16, no sparsity

`compute_share` is the share of the dense peak that a training step's products reach while it waits
for no communication: one number a device, fixed from published runs (its `calibration`) or taken
over from a relative, before the held-out runs were read. What communication costs on top is worked
out from the links.
"""

import difflib
from dataclasses import dataclass

from openqwen.core.errors import UserError

GIB = 1 << 30


@dataclass(frozen=True)
class Device:
    """One kind of device and the machines it usually stands in.

    Attributes:
        name: as the command line takes it.
        memory_bytes: all of it; the reserve for driver and allocator is the plan's.
        peak_flops_per_s: dense bfloat16 products with float32 sums.
        memory_bytes_per_s: of the device's own memory.
        intra_node_bytes_per_s: one way, from one device to the others of its node.
        inter_node_bytes_per_s: one way, each device's share of its node's network.
        devices_per_node: in the machine the links are taken from.
        compute_share: share of the peak without waiting for communication.
        is_calibrated: whether that share comes from a run on this very device.
        calibration: where the share comes from.
        source: where the other figures come from.
    """

    name: str
    memory_bytes: int
    peak_flops_per_s: float
    memory_bytes_per_s: float
    intra_node_bytes_per_s: float
    inter_node_bytes_per_s: float
    devices_per_node: int
    compute_share: float
    is_calibrated: bool
    calibration: str
    source: str


# Each constant is the middle of the published runs that `benchmarks/plan_published.py` marks as
# calibration: least mean absolute log error over them, attention at half rate, recomputation at a
# fifth (plan_speed.py). The first round's, from one run each, were tested on the same runs before:
# 0.50 and 0.49, 17 % off in the median. docs/plan.md has both rounds.
A100_SHARE, A100_CALIBRATION = 0.61, "15 published runs on A100, docs/plan.md"
H100_SHARE, H100_CALIBRATION = 0.41, "12 published runs on H100, docs/plan.md"
H200_SHARE, H200_CALIBRATION = 0.52, "6 published runs on H200, docs/plan.md"


A100_PEAK, H100_PEAK = 312e12, 989.4e12

DEVICES: tuple[Device, ...] = (
    Device(
        "a100-40g",
        memory_bytes=40 * GIB,
        peak_flops_per_s=A100_PEAK,
        memory_bytes_per_s=1.555e12,
        intra_node_bytes_per_s=300e9,
        inter_node_bytes_per_s=25e9,
        devices_per_node=8,
        compute_share=A100_SHARE,
        is_calibrated=True,
        calibration=A100_CALIBRATION,
        source="NVIDIA A100 data sheet (SXM); DGX A100: 8 × 200 Gb/s InfiniBand",
    ),
    Device(
        "a100-80g",
        memory_bytes=80 * GIB,
        peak_flops_per_s=A100_PEAK,
        memory_bytes_per_s=2.039e12,
        intra_node_bytes_per_s=300e9,
        inter_node_bytes_per_s=25e9,
        devices_per_node=8,
        compute_share=A100_SHARE,
        is_calibrated=True,
        calibration=A100_CALIBRATION,
        source="NVIDIA A100 data sheet (SXM); DGX A100: 8 × 200 Gb/s InfiniBand",
    ),
    Device(
        "h100-80g",
        memory_bytes=80 * GIB,
        peak_flops_per_s=H100_PEAK,
        memory_bytes_per_s=3.35e12,
        intra_node_bytes_per_s=450e9,
        inter_node_bytes_per_s=50e9,
        devices_per_node=8,
        compute_share=H100_SHARE,
        is_calibrated=True,
        calibration=H100_CALIBRATION,
        source="NVIDIA H100 data sheet (SXM5, 700 W); DGX H100: 8 × 400 Gb/s InfiniBand",
    ),
    Device(
        "h200",
        memory_bytes=141_000_000_000,
        peak_flops_per_s=H100_PEAK,
        memory_bytes_per_s=4.8e12,
        intra_node_bytes_per_s=450e9,
        inter_node_bytes_per_s=50e9,
        devices_per_node=8,
        compute_share=H200_SHARE,
        is_calibrated=True,
        calibration=H200_CALIBRATION,
        source="NVIDIA H200 data sheet (SXM); DGX H200: 8 × 400 Gb/s InfiniBand",
    ),
    Device(
        "b200",
        memory_bytes=180_000_000_000,
        peak_flops_per_s=2250e12,
        memory_bytes_per_s=8e12,
        intra_node_bytes_per_s=900e9,
        inter_node_bytes_per_s=50e9,
        devices_per_node=8,
        compute_share=H100_SHARE,
        is_calibrated=False,
        calibration="taken over from h100-80g: about the same FLOPs a byte of memory read",
        source="NVIDIA DGX B200 data sheet: 36 PFLOP/s of bf16 dense by 8 halves; 8 × 400 Gb/s",
    ),
    Device(
        "l40s",
        memory_bytes=48 * GIB,
        peak_flops_per_s=362e12,
        memory_bytes_per_s=0.864e12,
        intra_node_bytes_per_s=32e9,
        inter_node_bytes_per_s=6.25e9,
        devices_per_node=8,
        compute_share=0.40,
        is_calibrated=False,
        calibration="assumed: two thirds of the A100's, at half its memory rate a FLOP",
        source="NVIDIA L40S data sheet; PCIe 4.0 x16; network assumed, 400 Gb/s a node",
    ),
    Device(
        "rtx4090",
        memory_bytes=24 * GIB,
        peak_flops_per_s=165.2e12,
        memory_bytes_per_s=1.008e12,
        intra_node_bytes_per_s=12.5e9,
        inter_node_bytes_per_s=1.56e9,
        devices_per_node=8,
        compute_share=A100_SHARE,
        is_calibrated=False,
        calibration="taken over from a100-80g: about the same FLOPs a byte of memory",
        source="NVIDIA Ada whitepaper (float32 sums); no peer-to-peer: PCIe 4.0 through the "
        "host, half each way; network assumed, 100 Gb/s a node",
    ),
    Device(
        "cpu",
        memory_bytes=24 * GIB,
        peak_flops_per_s=1.8e12,
        memory_bytes_per_s=23e9,
        intra_node_bytes_per_s=5e9,
        inter_node_bytes_per_s=1.25e9,
        devices_per_node=1,
        compute_share=0.27,
        is_calibrated=False,
        calibration="one training of tiny on two such cores, November 2026: 27 %",
        source="measured: two cores with AVX-512 bf16, a product of 4096³ on a quiet machine; "
        "network assumed, 10 Gb/s",
    ),
)


def device_names() -> tuple[str, ...]:
    """Return the names that `find_device` takes."""
    return tuple(device.name for device in DEVICES)


def find_device(name: str) -> Device:
    """Return the device of that name; case and punctuation don't matter.

    Raises:
        UserError: unknown; names the nearest.
    """
    wanted = name.lower().replace("_", "-").replace(" ", "-")
    for device in DEVICES:
        if wanted == device.name:
            return device
    near = [known for known in device_names() if wanted and known.startswith(wanted)]
    near = near or difflib.get_close_matches(wanted, device_names(), n=1, cutoff=0.4)
    guess = f"; did you mean {near[-1]}?" if near else "."
    raise UserError(f"--gpu {name}: no such device{guess} Known: {', '.join(device_names())}")
