"""How long a step takes: computing at the device's one constant, and what communication adds.

The answer is a range. Each end and the middle are one set of assumptions, fixed before the held-out
runs were read (docs/plan.md lists how they fared):

| | low | expected | high |
|---|---|---|---|
| device's share of its peak, calibrated | × 0.80 | × 1 | × 1.25 |
| … taken over from another device | × 0.65 | × 1 | × 1.35 |
| links, share of their rate | 0.65 | 0.80 | 0.90 |
| FSDP's traffic that nothing covers, at least | 30 % | 10 % | 0 % |

Attention's products run at half the rate of the others, and to recompute a layer costs a fifth of
its time, not the third that its FLOPs are: a forward pass alone runs faster than the rest.
"""

from dataclasses import dataclass

from openqwen.model.config import count_layer_parameters, count_parameters
from openqwen.parallel.plan_communication import Traffic, traffic_of
from openqwen.parallel.plan_layout import Job, Layout

DAY_S = 86_400
# reads and writes master and both moments, reads the gradient twice (norm, update): 4 bytes each
UPDATE_BYTES_PER_PARAMETER = 2 * 3 * 4 + 2 * 4


@dataclass(frozen=True)
class Assumptions:
    """One end of the range.

    Attributes:
        compute: factor on the device's share of its peak.
        links: share of the links' rate that collectives reach.
        uncovered: share of FSDP's traffic that is not hidden behind computing, at least.
    """

    compute: float
    links: float
    uncovered: float


EXPECTED = Assumptions(1.0, 0.8, 0.1)
LOW, HIGH = Assumptions(0.80, 0.65, 0.3), Assumptions(1.25, 0.9, 0.0)
LOW_TAKEN_OVER, HIGH_TAKEN_OVER = Assumptions(0.65, 0.65, 0.3), Assumptions(1.35, 0.9, 0.0)
ATTENTION_SLOWDOWN = 2.0  # its rate is half of the other products'
RECOMPUTE_SHARE = 0.2  # of a layer's time that its forward pass alone takes


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, one set of assumptions.

    Attributes:
        compute_s: products and all else on the device, recomputation included.
        covered_s: communication that runs beside it.
        waiting_s: communication that computing waits for.
        update_s: the optimiser.
        mfu: model FLOPs (no recomputation) as a share of the dense peak.
        tokens_per_s: of all devices.
    """

    compute_s: float
    covered_s: float
    waiting_s: float
    update_s: float
    mfu: float
    tokens_per_s: float

    @property
    def step_s(self) -> float:
        """Return the whole step."""
        return self.compute_s + self.waiting_s + self.update_s

    def days(self, num_tokens: float) -> float:
        """Return the days that many tokens take, without failures and evaluations."""
        return num_tokens / self.tokens_per_s / DAY_S


@dataclass(frozen=True)
class Speed:
    """The range of one layout."""

    low: StepTime
    expected: StepTime
    high: StepTime


def speed_of(job: Job, layout: Layout) -> Speed:
    """Return the time of a step of a layout that divides the batch."""
    traffic = traffic_of(job, layout)
    calibrated = job.device.is_calibrated
    low, high = (LOW, HIGH) if calibrated else (LOW_TAKEN_OVER, HIGH_TAKEN_OVER)
    times = [step_time(job, layout, traffic, given) for given in (low, EXPECTED, high)]
    return Speed(*times)


def step_time(job: Job, layout: Layout, traffic: list[Traffic], given: Assumptions) -> StepTime:
    """Return the time of a step under one set of assumptions."""
    device = job.device
    compute_s = _compute_s(job, layout) / given.compute
    hidden_s = sum(t.seconds_per_step(given.links) for t in traffic if t.can_overlap)
    waiting_s = sum(t.seconds_per_step(given.links) for t in traffic if not t.can_overlap)
    uncovered_s = max(hidden_s - compute_s, given.uncovered * hidden_s)
    local = count_parameters(job.config) / (layout.shards * layout.tensor)
    update_s = local * UPDATE_BYTES_PER_PARAMETER / device.memory_bytes_per_s
    step_s = compute_s + waiting_s + uncovered_s + update_s
    flops_per_device = job.tokens_per_step * job.flops_per_token / layout.num_devices
    return StepTime(
        compute_s=compute_s,
        covered_s=hidden_s - uncovered_s,
        waiting_s=waiting_s + uncovered_s,
        update_s=update_s,
        mfu=flops_per_device / step_s / device.peak_flops_per_s,
        tokens_per_s=job.tokens_per_step / step_s,
    )


def _compute_s(job: Job, layout: Layout) -> float:
    """Return the seconds of one step's work on a device at the device's constant."""
    config, device = job.config, job.device
    tokens = job.tokens_per_step / layout.num_devices
    layers = float(config.num_hidden_layers * count_layer_parameters(config))
    layers += ATTENTION_SLOWDOWN * job.attention_per_token
    if layout.recompute == "layer":
        layers *= 1 + RECOMPUTE_SHARE
    head = config.vocab_size * config.hidden_size
    return 6 * tokens * (layers + head) / (device.peak_flops_per_s * device.compute_share)
