"""Settings of PPO; light to import."""

from typing import Self

from pydantic import model_validator

from openqwen.core.config import setting
from openqwen.train.config import TrainingConfig


class PPOConfig(TrainingConfig):
    """Reinforcement learning from a reward model (§3.2.2)."""

    num_steps: int = setting(1000, "iterations: sample, score, update", ge=1)
    value_warmup_steps: int = setting(
        50, "first iterations, in which only the value model learns", source="§3.2.2", ge=0
    )
    paths: tuple[str, ...] = setting((), "your own queries: conversations, as for fine-tuning")
    queries_per_step: int = setting(64, "different queries an iteration", ge=1)
    responses_per_query: int = setting(2, "responses a query", source="§3.2.2", ge=1)
    max_prompt_tokens: int = setting(1024, "longer queries are left out, in tokens", ge=8)
    max_new_tokens: int = setting(512, "length that cuts a response, in tokens", ge=1)
    temperature: float = setting(1.0, "divides the policy's logits in sampling", gt=0)
    top_p: float = setting(0.9, "mass of the tokens drawn from", source="§3.2.2", gt=0, le=1)
    learning_rate: float = setting(1e-6, "of the policy", source="§3.2.2", gt=0)
    value_learning_rate: float = setting(5e-6, "of the value model", source="§3.2.2", gt=0)
    schedule: str = setting(
        "constant", "after the warm-up: constant or cosine", pattern="^(cosine|constant)$"
    )
    warmup_steps: int = setting(0, "iterations of linear warm-up", ge=0)
    weight_decay: float = setting(0.0, "decay of the matrices", ge=0)
    num_epochs: int = setting(1, "passes over the responses of an iteration", ge=1)
    num_minibatches: int = setting(4, "updates a pass", ge=1)
    micro_responses: int = setting(8, "responses a forward pass; the rest is accumulated", ge=1)
    gamma: float = setting(1.0, "discount of later rewards", gt=0, le=1)
    gae_lambda: float = setting(0.95, "λ of generalised advantage estimation", ge=0, le=1)
    policy_clip: float = setting(0.2, "largest step of the probability ratio", gt=0)
    value_clip: float = setting(0.15, "largest step of a value", source="§3.2.2", gt=0)
    whiten_advantages: bool = setting(True, "advantages have mean 0 and deviation 1")
    kl_coefficient: float = setting(
        0.04, "weight of log p - log p_SFT inside the reward, a token", source="§3.2.2", ge=0
    )
    scale_reward: bool = setting(
        False, "divide the score by its running deviation, beside subtracting its running mean"
    )
    missing_end_penalty: float = setting(
        1.0, "taken from the score of a response without an end token", ge=0
    )
    pretraining_coefficient: float = setting(
        0.05, "weight of the pretraining loss; 0 leaves it out (the report names no value)", ge=0
    )
    pretraining_ratio: float = setting(
        4.0, "pretraining tokens a response token (the report: far more)", gt=0
    )
    kl_bound: float = setting(
        20.0, "KL to the SFT model, in nats a response, above which a flag is raised", gt=0
    )
    length_drift_bound: float = setting(
        2.0, "factor by which the mean length may move from the first iterations'", gt=1
    )
    repetition_bound: float = setting(
        0.5, "share of repeated 4-grams in the responses above which a flag is raised", gt=0, le=1
    )
    stop_on_flag: bool = setting(False, "end the run where a flag is raised")
    evaluation_prompts: int = setting(64, "held-out queries that are answered and scored", ge=2)

    @model_validator(mode="after")
    def _minibatches_divide(self) -> Self:
        responses = self.queries_per_step * self.responses_per_query
        if responses % self.num_minibatches:
            raise ValueError(
                f"num_minibatches = {self.num_minibatches} must divide the {responses} responses "
                "of an iteration (queries_per_step · responses_per_query)"
            )
        return self
