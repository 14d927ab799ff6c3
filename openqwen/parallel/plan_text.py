"""A plan for people, aligned, and for machines, as JSON types."""

from dataclasses import asdict
from typing import Any

from openqwen.model.config import count_parameters
from openqwen.parallel.plan_communication import traffic_of
from openqwen.parallel.plan_devices import GIB
from openqwen.parallel.plan_layout import Job, Layout, num_micro_batches
from openqwen.parallel.plan_request import Reported
from openqwen.parallel.plan_search import Option, Plan, fits
from openqwen.parallel.plan_speed import EXPECTED, Speed

PART_MEANINGS = {
    "masters": "float32 parameters, this device's part",
    "moments": "AdamW's two, float32",
    "gradients": "summed in float32, this device's part",
    "gathered": "whole bfloat16 parameters in use: vocabulary, layers in flight",
    "activations": "saved for the backward pass",
    "passing": "gradients on their way, the loss's blocks and sums",
    "reserve": "driver, communication library, allocator (assumed)",
}
SHOWN = 8  # other meshes and rejected ones in the text; JSON has all


def plan_lines(
    plan: Plan, *, num_tokens: float, reported: Reported | None, show_all: bool
) -> list[str]:
    """Return the whole answer: the recommended layout in full, then the others."""
    job, best = plan.job, plan.best
    lines = [*job_lines(job), "", *option_lines("recommended", job, best, num_tokens, reported)]
    others = [option for option in plan.options if option is not best]
    if others:
        lines += ["", "other layouts that fit, fastest first"]
        lines += _other_rows(job, others if show_all else others[:SHOWN], num_tokens)
        lines += _more(len(others), show_all)
    if plan.rejected:
        rejected = plan.rejected if show_all else plan.rejected[:SHOWN]
        width = max(len(item.layout.describe_mesh()) for item in rejected)
        lines += ["", "layouts that can't be used"]
        lines += [f"  {item.layout.describe_mesh():<{width}}  {item.reason}" for item in rejected]
        lines += _more(len(plan.rejected), show_all)
    return lines


def job_lines(job: Job) -> list[str]:
    """Return what is planned, on what."""
    config, device = job.config, job.device
    sequences, length = f"{job.sequences_per_step:,}", f"{job.context_length:,}"
    return [
        f"model         {count_parameters(config):,} parameters, {config.num_hidden_layers} layers "
        f"of {config.hidden_size:,}, {job.flops_per_token / 1e9:,.2f} GFLOP a token",
        f"devices       {job.num_devices} × {device.name}: {device.memory_bytes / GIB:,.0f} GiB, "
        f"{device.peak_flops_per_s / 1e12:,.1f} TFLOP/s bfloat16, {device.devices_per_node} a node",
        f"batch         {sequences} sequences of {length} tokens = {job.tokens_per_step:,} a step",
    ]


def option_lines(
    title: str, job: Job, option: Option, num_tokens: float, reported: Reported | None
) -> list[str]:
    """Return one layout's memory, communication and speed."""
    layout = option.layout
    lines = [
        f"{title:<13} {layout.describe()}, {num_micro_batches(job, layout)} micro-batches a step",
        f"              {_settings(layout)}",
        "",
    ]
    lines += [*_memory_lines(job, option), "", *_traffic_lines(job, option), ""]
    return lines + speed_lines(job, option.speed, num_tokens, reported)


def speed_lines(job: Job, speed: Speed, num_tokens: float, reported: Reported | None) -> list[str]:
    """Return the range of speed, how it is made, and the report's own run beside it."""
    ends = (speed.low, speed.expected, speed.high)
    share = job.device.compute_share
    lines = [
        f"{'speed':<28}{'low':>12}{'expected':>12}{'high':>12}",
        _row("MFU, % of the dense peak", [f"{100 * e.mfu:,.1f}" for e in ends]),
        _row("tokens/s", [f"{e.tokens_per_s:,.0f}" for e in ends]),
        _row("tokens/s a device", [f"{e.tokens_per_s / job.num_devices:,.0f}" for e in ends]),
        _row("seconds a step", [f"{e.step_s:,.2f}" for e in ends]),
        _row("  computing", [f"{e.compute_s:,.2f}" for e in ends]),
        _row("  waiting for links", [f"{e.waiting_s:,.2f}" for e in ends]),
        _row("  optimiser", [f"{e.update_s:,.3f}" for e in ends]),
        _row(f"days for {_count(num_tokens)} tokens", [_days(e, num_tokens) for e in ends]),
        f"  {share:.0%} of the peak where nothing waits: {job.device.calibration}",
        "  without failures, restarts and evaluations; how the range is made: docs/plan.md",
    ]
    if reported is not None:
        lines.append(
            f"  the report trained {reported.name} on {reported.num_tokens / 1e12:.1f} T tokens, "
            f"{reported.batch_tokens} a step (Table 1); it names no devices and no days"
        )
    return lines


def _memory_lines(job: Job, option: Option) -> list[str]:
    memory = option.memory
    lines = [f"{'memory a device':<28}{'GiB':>12}"]
    for name, amount in memory.parts().items():
        lines.append(f"{'  ' + name:<28}{amount / GIB:>12,.2f}   {PART_MEANINGS[name]}")
    state = "fits" if fits(job, option) else "DOES NOT FIT"
    lines.append(
        f"{'  together':<28}{memory.total / GIB:>12,.2f}   of "
        f"{job.device.memory_bytes / GIB:,.2f}: {state}; fullest at: {memory.moment}"
    )
    return lines


def _traffic_lines(job: Job, option: Option) -> list[str]:
    found = traffic_of(job, option.layout)
    if not found:
        return ["communication: none"]
    lines = [f"{'communication a step':<38}{'GiB in':>10}{'s on links':>12}"]
    for traffic in found:
        label = f"  {traffic.axis}: {traffic.what}"
        seconds = traffic.seconds_per_step(EXPECTED.links)
        state = "beside computing" if traffic.can_overlap else "computing waits"
        place = "in a node" if traffic.group.nodes == 1 else f"over {traffic.group.nodes} nodes"
        lines.append(
            f"{label:<38}{traffic.bytes_per_step / GIB:>10,.1f}{seconds:>12,.2f}   {state}, {place}"
        )
    return lines


def _other_rows(job: Job, options: list[Option], num_tokens: float) -> list[str]:
    width = max(len(option.layout.describe()) for option in options)
    lines = [f"  {'':<{width}}{'GiB':>8}{'MFU %':>16}{'days':>20}"]
    for option in options:
        speed = option.speed
        mfu = f"{100 * speed.low.mfu:.0f} – {100 * speed.high.mfu:.0f}"
        days = f"{_days(speed.high, num_tokens)} – {_days(speed.low, num_tokens)}"
        lines.append(
            f"  {option.layout.describe():<{width}}{option.memory.total / GIB:>8,.1f}"
            f"{mfu:>16}{days:>20}"
        )
    return lines


def _more(count: int, show_all: bool) -> list[str]:
    return [] if show_all or count <= SHOWN else [f"  … {count - SHOWN} more: --all"]


def _settings(layout: Layout) -> str:
    """Return the layout as a recipe's settings."""
    axes = ("replicate", "shard", "context", "tensor")
    settings = {f"parallel.{axis}": getattr(layout, axis) for axis in axes}
    settings = {name: size for name, size in settings.items() if size > 1}
    if layout.recompute != "none":
        settings["parallel.recompute"] = layout.recompute
    settings["micro_sequences"] = layout.micro_sequences
    return " ".join(f"--set base.{name}={value}" for name, value in settings.items())


def _row(label: str, cells: list[str]) -> str:
    return f"{'  ' + label:<28}" + "".join(f"{cell:>12}" for cell in cells)


def _count(amount: float) -> str:
    """Return an amount with the suffix that keeps it short, such as 3 T."""
    for suffix, unit in (("T", 1e12), ("G", 1e9), ("M", 1e6)):
        if amount >= unit:
            return f"{amount / unit:,.4g} {suffix}"
    return f"{amount:,.0f}"


def _days(end: Any, num_tokens: float) -> str:
    days = end.days(num_tokens)
    return f"{days:,.1f}" if days < 100 else f"{days:,.0f}"


def plan_data(plan: Plan, *, num_tokens: float, reported: Reported | None) -> dict[str, Any]:
    """Return the whole plan as JSON types; bytes, seconds, shares between 0 and 1."""
    job = plan.job
    return {
        "job": job_data(job),
        "num_tokens": num_tokens,
        "recommended": option_data(job, plan.best, num_tokens),
        "options": [option_data(job, option, num_tokens) for option in plan.options],
        "rejected": [{**asdict(item.layout), "reason": item.reason} for item in plan.rejected],
        "report": asdict(reported) if reported else None,
    }


def job_data(job: Job) -> dict[str, Any]:
    """Return the job as JSON types."""
    return {
        "parameters": count_parameters(job.config),
        "flops_per_token": job.flops_per_token,
        "num_devices": job.num_devices,
        "device": asdict(job.device),
        "context_length": job.context_length,
        "sequences_per_step": job.sequences_per_step,
        "tokens_per_step": job.tokens_per_step,
    }


def option_data(job: Job, option: Option, num_tokens: float) -> dict[str, Any]:
    """Return one priced layout as JSON types."""
    speed, memory = option.speed, option.memory
    ends = {"low": speed.low, "expected": speed.expected, "high": speed.high}
    return {
        "layout": asdict(option.layout),
        "micro_batches_per_step": num_micro_batches(job, option.layout),
        "fits": fits(job, option),
        "memory_bytes": {**memory.parts(), "total": memory.total},
        "fullest_at": memory.moment,
        "communication": [
            {
                "axis": traffic.axis,
                "what": traffic.what,
                "bytes_per_step": traffic.bytes_per_step,
                "seconds_per_step": traffic.seconds_per_step(EXPECTED.links),
                "can_overlap": traffic.can_overlap,
                "nodes": traffic.group.nodes,
            }
            for traffic in traffic_of(job, option.layout)
        ],
        "speed": {
            name: {**asdict(end), "step_s": end.step_s, "days": end.days(num_tokens)}
            for name, end in ends.items()
        },
    }
