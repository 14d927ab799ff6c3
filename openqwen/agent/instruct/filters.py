"""The rules a sample has to pass, cheap ones first; each drop says why.

    rules = Rules(config, index)
    rules.begin_with(seeds)
    rules.judge(sample)            # ("too similar", "Rouge-L 0.82 with seed_task_8"), or None
    rules.keep(sample)             # later ones are compared with it

Code and tool calls are tried elsewhere (`execution`, `tool_samples`).
"""

import re

from openqwen.agent.instruct.config import InstructConfig
from openqwen.agent.instruct.diversity import RougePool, ShinglePool
from openqwen.agent.instruct.sample import Sample
from openqwen.agent.instruct.seeds import Seeds, language_of
from openqwen.core.ngrams import units
from openqwen.data.contamination.benchmark_index import BenchmarkIndex, Found
from openqwen.data.personal.config import PersonalDataConfig
from openqwen.data.personal.mask import FINDERS, find_personal_data
from openqwen.data.rules.block_list import EVERY_LANGUAGE, BlockList, is_too_much, load_block_lists
from openqwen.data.rules.repetition import repeated_parts

# the order in which the rules are tried; the funnel is shown in it
REASONS = (
    *("cut off", "not readable", "no instruction", "no answer", "template left in it"),
    *("another language", "instruction too short", "instruction too long", "answer too short"),
    *("repeats itself", "needs what text can't give", "input missing"),
    *("repeats the question", "speaks of itself"),
    *("personal data", "offensive terms"),
    *("benchmark", "duplicate", "near-duplicate", "too similar"),
    *("tool call invalid", "arguments invented", "tool failed", "no tool used"),
    *("another tool used", "agent did not finish", "prints something else"),
    *("not executable", "code not run", "code fails", "code too slow"),
)
Reason = tuple[str, str]
_TEMPLATE = re.compile(
    r"<\|[a-z_]+\|>|^\s*(?:Instruction|Input|Task \d+|指令|输入|任务\s*\d+)\s*[:：]",
    re.MULTILINE,
)
# Self-Instruct drops what a text model can't do by words like these
_NOT_TEXT = re.compile(
    r"\b(?:images?|pictures?|photos?|videos?|audio|graphs?|plot|draw|sketch|upload|attached file)\b"
    r"|图片|图像|照片|视频|音频|录音|画一|绘制|附件|上传",
    re.IGNORECASE,
)
# an instruction that speaks of something which has to be there
_GIVEN = re.compile(
    r"\b(?:given|following|provided|below|above)\b|给定|下列|下面的|以下|上述|所给|给出的|提供的",
    re.IGNORECASE,
)
# an answer that says what it is instead of what was asked
_OF_ITSELF = re.compile(
    r"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b"
    r"|作为(?:一个|一款|一名)?(?:AI|人工智能|(?:大型?)?语言模型|智能助手)",
    re.IGNORECASE,
)
_REPLACEMENT = "\ufffd"
_NUMBER = re.compile(r"^\s*(?:\d+[.)、]|[-*•])\s*")
MAX_RUN = 12  # a run of one unit longer than this is a loop


class Rules:
    """The rules, and what samples are compared with."""

    def __init__(self, config: InstructConfig, benchmarks: BenchmarkIndex | None) -> None:
        """Take the settings and, where decontamination is asked for, the benchmarks."""
        self.config, self.benchmarks = config, benchmarks
        self.rouge, self.shingles = RougePool(), ShinglePool()
        self._lists: dict[str, BlockList] = load_block_lists(config.block_list)
        personal = PersonalDataConfig()
        self._personal = tuple(kind for kind in FINDERS if getattr(personal, kind))

    def begin_with(self, seeds: Seeds) -> None:
        """Compare all samples with the seeds too."""
        for task in seeds.tasks:
            self.rouge.add(task.id, task.instruction)
            self.shingles.add(task.id, f"{task.question}\n{task.output}")
        for request in seeds.requests:
            self.rouge.add(request.id, request.query)
            self.shingles.add(request.id, request.query)

    def keep(self, sample: Sample) -> None:
        """Compare later samples with this one."""
        self.rouge.add(sample.id, sample.instruction)
        self.shingles.add(sample.id, sample.text)

    def judge_instruction(
        self, instruction: str, language: str, *, given: str = "", has_tools: bool = False
    ) -> Reason | None:
        """Return why an instruction is dropped before it costs an answer, or None.

        Args:
            instruction: what the user asks for.
            language: asked of the model.
            given: its input.
            has_tools: whether tools answer, which may do what text can't.
        """
        config, count = self.config, len(units(instruction))
        if not instruction.strip():
            return "no instruction", ""
        if _REPLACEMENT in instruction:
            return "not readable", "half a character"
        found = _TEMPLATE.search(instruction)
        if found:
            return "template left in it", found.group()
        if language_of(instruction) != language:
            return "another language", f"{language} was asked for"
        if count < config.min_instruction_units:
            return "instruction too short", f"{count} units"
        if count > config.max_instruction_units:
            return "instruction too long", f"{count} units"
        found = _GIVEN.search(instruction)
        if found and not given and not has_tools and not re.search(r"[:：\n\"“]", instruction):
            return "input missing", found.group()
        found = None if has_tools else _NOT_TEXT.search(instruction)
        if found:
            return "needs what text can't give", found.group()
        near = self.rouge.nearest(instruction, above=config.max_rouge)
        if near is not None:
            return "too similar", f"Rouge-L {near[0]:.2f} with {near[1]}"
        return None

    def judge(self, sample: Sample) -> Reason | None:
        """Return why a whole sample is dropped, or None."""
        return self._judge_answer(sample) or self._judge_content(sample)

    def _judge_answer(self, sample: Sample) -> Reason | None:
        config, answer = self.config, sample.answer
        if _REPLACEMENT in answer:
            return "not readable", "half a character"
        if not answer.strip():
            return "no answer", ""
        if sample.provenance.get("finish_reason") == "length":
            return "cut off", "the answer reached its limit of tokens"
        given = str(sample.provenance.get("input", ""))
        if units(answer) in (units(sample.instruction), units(given)):
            return "repeats the question", ""
        of_itself = _OF_ITSELF.search(answer)
        if of_itself:
            return "speaks of itself", of_itself.group()
        if re.search(r"<\|[a-z_]+\|>", answer):
            return "template left in it", ""
        if len(units(answer)) < config.min_answer_units:
            return "answer too short", ""
        lines = [_NUMBER.sub("", line).strip() for line in answer.splitlines()]
        lines = [line for line in lines if len(line) > 1]
        share, _ = repeated_parts(lines)
        if share > config.max_duplicate_lines:
            return "repeats itself", f"{share:.0%} of lines were seen before"
        run = _longest_run(units(answer))
        if run > MAX_RUN:
            return "repeats itself", f"one unit {run} times in a row"
        return None

    def _judge_content(self, sample: Sample) -> Reason | None:
        config = self.config
        if config.personal_data:
            found = find_personal_data(sample.text, self._personal)
            if found:
                return "personal data", ", ".join(sorted({kind for *_, kind in found}))
        blocked = self._lists.get(sample.language, self._lists.get(EVERY_LANGUAGE))
        if blocked is not None:
            terms = blocked.find(sample.text)
            if is_too_much(terms, config.block_list):
                return "offensive terms", f"{len(terms.terms)} different listed terms"
        if self.benchmarks is not None:
            overlap = self.benchmarks.overlaps(sample.text)
            if overlap is not None:
                return "benchmark", _told(overlap)
        score, whose = self.shingles.nearest(sample.text)
        if score == 1.0:
            return "duplicate", f"of {whose}"
        if score >= config.max_jaccard:
            return "near-duplicate", f"Jaccard {score:.2f} with {whose}"
        near = self.rouge.nearest(sample.instruction, above=config.max_rouge)
        if near is not None:  # of its own batch
            return "too similar", f"Rouge-L {near[0]:.2f} with {near[1]}"
        return None


def _told(found: Found) -> str:
    longest = found.overlaps[0]
    return f"{longest.num_units} units of {longest.item.benchmark}, {longest.item.id}"


def _longest_run(found: list[str]) -> int:
    best = run = 0
    for place, unit in enumerate(found):
        run = run + 1 if place and unit == found[place - 1] else 1
        best = max(best, run)
    return best
