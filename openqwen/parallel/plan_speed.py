"""How long a step takes: computing at the device's one constant, and what communication adds.

The answer is a range. Each end and the middle are one set of assumptions, fixed before any held-out
run was read (docs/plan.md lists how they fared):

| | low | expected | high |
|---|---|---|---|
| device's share of its peak, calibrated | × 0.85 | × 1 | × 1.15 |
| … taken over from another device | × 0.70 | × 1 | × 1.20 |
| links, share of their rate | 0.65 | 0.80 | 0.90 |
| FSDP's traffic that nothing covers, at least | 30 % | 10 % | 0 % |
"""

from dataclasses import dataclass

from openqwen.model.config import count_parameters
from openqwen.parallel.plan_communication import Traffic, traffic_of
from openqwen.parallel.plan_layout import Job, Layout, layer_flops_share, num_micro_batches

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


LOW, EXPECTED, HIGH = (
    Assumptions(0.85, 0.65, 0.3),
    Assumptions(1.0, 0.8, 0.1),
    Assumptions(1.15, 0.9, 0.0),
)
LOW_TAKEN_OVER, HIGH_TAKEN_OVER = Assumptions(0.70, 0.65, 0.3), Assumptions(1.20, 0.9, 0.0)


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
    ranks_a_sequence = layout.context * layout.tensor
    tokens = num_micro_batches(job, layout) * layout.micro_sequences * job.context_length
    flops = tokens * job.flops_per_token / ranks_a_sequence
    again = layer_flops_share(job) / 3 if layout.recompute == "layer" else 0.0
    compute_s = (
        flops * (1 + again) / (device.peak_flops_per_s * device.compute_share * given.compute)
    )
    hidden_s = sum(t.seconds_per_step(given.links) for t in traffic if t.can_overlap)
    waiting_s = sum(t.seconds_per_step(given.links) for t in traffic if not t.can_overlap)
    uncovered_s = max(hidden_s - compute_s, given.uncovered * hidden_s)
    local = count_parameters(job.config) / (layout.shards * layout.tensor)
    update_s = local * UPDATE_BYTES_PER_PARAMETER / device.memory_bytes_per_s
    step_s = compute_s + waiting_s + uncovered_s + update_s
    return StepTime(
        compute_s=compute_s,
        covered_s=hidden_s - uncovered_s,
        waiting_s=waiting_s + uncovered_s,
        update_s=update_s,
        mfu=flops / step_s / device.peak_flops_per_s,
        tokens_per_s=job.tokens_per_step / step_s,
    )
