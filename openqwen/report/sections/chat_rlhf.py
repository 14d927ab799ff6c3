"""The chat-rlhf section: PPO's curves, signs of reward hacking, RLHF beside SFT."""

from typing import Any

from openqwen.report.content import Block, Row, Table, Text
from openqwen.report.formatting import MISSING, decimal, integer, percent, signed, small
from openqwen.report.run_facts import RunFacts, StageFacts
from openqwen.report.sections import tuned

JUDGES = {
    "reward": "the reward model it learnt from",
    "preference": "the preference model (PMP), which it never saw",
}
# name, title, axis, metric -> label, whether the axis starts at 0
PLOTS: tuple[tuple[str, str, str, dict[str, str], bool], ...] = (
    ("score", "Score of the sampled responses", "mean score", {"score": "score"}, False),
    ("reward", "Reward, KL and penalties included", "reward", {"reward": "reward"}, False),
    (
        "kl",
        "Distance from the SFT model",
        "nats/token",
        {"kl_k1": "k1", "kl_k3": "k3"},
        True,
    ),
    ("kl-response", "KL of a whole response", "nats/response", {"kl_response": "k1"}, True),
    ("entropy", "Entropy of the policy", "nats/token", {"entropy": "entropy"}, True),
    ("length", "Length of the responses", "tokens", {"length": "mean"}, True),
    (
        "shares",
        "Responses without an end, repeated 4-grams, mass kept by top-p",
        "share",
        {
            "no_end_share": "no end token",
            "repetition": "repeated 4-grams",
            "kept_mass": "mass kept by top-p",
        },
        True,
    ),
    (
        "clipped",
        "Clipped tokens",
        "share",
        {"policy_clip_fraction": "policy", "value_clip_fraction": "value"},
        True,
    ),
    (
        "explained",
        "What the value model explains of the returns",
        "explained variance",
        {"explained_variance": "explained variance"},
        False,
    ),
    (
        "losses",
        "Value loss and pretraining loss",
        "loss",
        {"value_loss": "value", "pretraining_loss": "pretraining (nats/token)"},
        True,
    ),
)


def headline(stage: StageFacts) -> list[str]:
    """Return responses and win rate."""
    found = [f"{integer(tuned.counts_of(stage)['responses'])} responses"]
    evaluation = stage.json("evaluation.json")
    if evaluation["n"]:
        rate = evaluation["judges"]["reward"]["rate"]
        found.append(f"wins {percent(rate, 0)} of {integer(evaluation['n'])}")
    return found


def blocks(stage: StageFacts, run: RunFacts) -> list[Block]:
    """Return settings, comparison, plots and replies."""
    return [
        _settings(stage),
        *_comparison(stage),
        *_flags(stage),
        *(
            tuned.line(stage, name, title, axis, keys, zero_based=zero)
            for name, title, axis, keys, zero in PLOTS
        ),
        _queries(stage),
        *tuned.replies(stage, "Answers to held-out questions, sampled", before="SFT", after="RLHF"),
    ]


def _settings(stage: StageFacts) -> Table:
    settings = tuned.settings_of(stage)
    rows = [
        ("policy learning rate", small(settings["learning_rate"]), "1e-6"),
        ("value learning rate", small(settings["value_learning_rate"]), "5e-6"),
        ("iterations for the value model alone", integer(settings["value_warmup_steps"]), "50"),
        ("iterations in all", integer(settings["num_steps"]), MISSING),
        ("queries an iteration", integer(settings["queries_per_step"]), MISSING),
        ("responses a query", integer(settings["responses_per_query"]), "2"),
        ("longest response (tokens)", integer(settings["max_new_tokens"]), MISSING),
        ("KL coefficient", small(settings["kl_coefficient"]), "0.04"),
        ("value clip", small(settings["value_clip"]), "0.15"),
        ("top-p in sampling", small(settings["top_p"]), "0.9"),
        ("reward", "minus its running mean", "normalised by its running mean"),
        (
            "pretraining-gradient coefficient",
            small(settings["pretraining_coefficient"]),
            "not given",
        ),
        ("policy clip, γ, λ", _constants(settings), MISSING),
    ]
    return tuned.beside("PPO beside the report's (§3.2.2)", rows)


def _constants(settings: dict[str, Any]) -> str:
    names = ("policy_clip", "gamma", "gae_lambda")
    return ", ".join(small(settings[name]) for name in names)


def _comparison(stage: StageFacts) -> list[Block]:
    """Return the win rate by judge, with what it means."""
    found = stage.json("evaluation.json")
    if not found["n"]:
        return [Text("There were no held-out questions to compare the models on.")]
    rows = []
    for judge, result in found["judges"].items():
        means = found["mean_score"][judge]
        rows.append(
            Row(
                (
                    JUDGES.get(judge, judge),
                    f"{result['wins']} – {result['ties']} – {result['losses']}",
                    tuned.share(result["rate"], result["interval"]),
                    decimal(means["sft"], 3),
                    decimal(means["rlhf"], 3),
                    f"{signed(result['difference'], 3)} ± {decimal(result['half_width'], 3)}",
                )
            )
        )
    table = Table(
        f"RLHF against SFT on {integer(found['n'])} held-out questions",
        (
            "judge",
            "won – tied – lost",
            f"wins, % ({tuned.INTERVAL})",
            "score SFT",
            "score RLHF",
            f"difference ({tuned.INTERVAL})",
        ),
        rows,
        note=f"n = {found['n']}, seed {found['seed']}; one sampled answer of each model to each "
        f"question. Mean length {decimal(found['mean_length']['sft'], 1)} → "
        f"{decimal(found['mean_length']['rlhf'], 1)} tokens; ended by itself "
        f"{percent(found['ended']['sft'], 0)} → {percent(found['ended']['rlhf'], 0)}.",
    )
    return [table, *(Text(_finding(judge, r)) for judge, r in found["judges"].items())]


def _finding(judge: str, result: dict[str, Any]) -> str:
    who = JUDGES.get(judge, judge)
    if not result["is_measurable"]:
        return f"Judged by {who}: no measurable difference, the interval includes 50 %."
    better = "more" if result["rate"] > 0.5 else "less"
    return f"Judged by {who}: RLHF is preferred {better} often than SFT, beyond chance."


def _flags(stage: StageFacts) -> list[Block]:
    """Return what the monitor saw, in words."""
    counts = tuned.counts_of(stage)
    flagged = [row["step"] for row in tuned.rows_of(stage, "train") if row["flags"]]
    if counts["stop_reason"]:
        return [Text(f"The run ended early. {counts['stop_reason']}.")]
    if not flagged:
        return [Text("No sign of reward hacking: length, repetition and KL kept within bounds.")]
    return [
        Text(
            f"Flags of possible reward hacking (length drift, repetition, KL) were raised in "
            f"{integer(len(flagged))} iterations, first in number {integer(flagged[0])}."
        )
    ]


def _queries(stage: StageFacts) -> Table:
    account = tuned.counts_of(stage)["query_tags"]
    rows = [
        ("questions to draw from", integer(account["prompts"])),
        ("drawn", integer(account["drawn"])),
        ("tags among those drawn", f"{account['tags_drawn']} of {account['tags']}"),
        ("entropy of the tags drawn (bits)", decimal(account["entropy_bits"], 2)),
        ("entropy in a plain draw (bits)", decimal(account["entropy_bits_of_a_plain_draw"], 2)),
    ]
    return Table(
        "Queries, balanced over tags and complexity",
        ("", "this run"),
        [Row(row) for row in rows],
        note="The report's system has about 6,600 tags and is not published; these are by rule.",
    )
