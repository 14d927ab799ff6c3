"""Settings of self-instruct; light, so that recipes import it freely.

The report gives the method (§3.4: few-shot prompts, rules, people, several rounds, about 2,000
samples kept) and no value but that; those of Self-Instruct (Wang et al. 2023) are named so.
"""

from typing import Literal

from openqwen.core.config import Config, Share, setting
from openqwen.data.rules.block_list_config import BlockListConfig

SELF_INSTRUCT = "Self-Instruct (Wang et al. 2023), §2.2"


class InstructConfig(Config):
    """What is asked of the model and what of its replies is kept."""

    kinds: tuple[Literal["general", "tools"], ...] = setting(
        ("general",), "general: instruction and answer; tools: a ReAct conversation", min_length=1
    )
    languages: tuple[Literal["en", "zh"], ...] = setting(
        ("en", "zh"), "languages, taken in turn batch by batch", min_length=1
    )
    num: int = setting(100, "raw samples of each kind in a round", ge=1)
    rounds: int = setting(1, "rounds; each shows what the rounds before kept", ge=1)
    batch: int = setting(8, "prompts that the model answers together", ge=1)
    form: Literal["chat", "text"] = setting(
        "chat", "how answers are asked for: as a chat turn, or by examples (a base model)"
    )
    examples: int = setting(8, "tasks shown in a prompt", source=SELF_INSTRUCT, ge=1)
    own_examples: int = setting(
        2, "how many of them are the model's own, once there are some", source=SELF_INSTRUCT, ge=0
    )
    tasks_a_prompt: int = setting(2, "new tasks that one prompt asks for", ge=1)
    max_example_chars: int = setting(400, "longer seeds are not shown, in characters", ge=40)
    temperature: float = setting(0.8, "of new tasks; answers are greedy", ge=0)
    top_p: float = setting(0.95, "mass that new tasks are drawn from", gt=0, le=1)
    task_tokens: int = setting(192, "length of a prompt's new tasks, in tokens", ge=8)
    answer_tokens: int = setting(512, "length of an answer, in tokens", ge=8)
    min_instruction_units: int = setting(
        3, "words (characters of Chinese) of an instruction", source="Self-Instruct's code", ge=1
    )
    max_instruction_units: int = setting(
        150, "words (characters of Chinese) of an instruction", source="Self-Instruct's code", ge=1
    )
    min_answer_units: int = setting(1, "words (characters of Chinese) of an answer", ge=1)
    max_duplicate_lines: Share = setting(
        0.3, "share of an answer's lines seen before in it", source="Gopher, table A1"
    )
    max_rouge: Share = setting(
        0.7, "Rouge-L of an instruction with any kept one or seed", source=SELF_INSTRUCT
    )
    max_jaccard: Share = setting(
        0.7, "similarity of two samples as sets of 5-grams, from which they are near-duplicates"
    )
    personal_data: bool = setting(True, "drop samples that hold personal data")
    block_list: BlockListConfig = setting(
        BlockListConfig(), "offensive terms; off until lists are named"
    )
    code: Literal["run", "keep", "drop"] = setting(
        "run", "Python code in answers: run in the sandbox and drop what fails, keep, drop unseen"
    )
    code_timeout_s: float = setting(10.0, "wall time of one answer's code, in seconds", gt=0)
    max_tools: int = setting(5, "tools offered at once", source="§3.4", ge=1)
    simulate: bool = setting(
        True,
        "let the model write the observation of a tool that can't be executed, marked as such; "
        "without it such a conversation is dropped",
    )
    grounded: bool = setting(
        True, "drop tool calls with numbers that neither the request nor an observation holds"
    )
    max_steps: int = setting(4, "actions in a tool conversation", ge=1)
