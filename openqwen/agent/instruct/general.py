"""General samples: the model continues a list of tasks, then answers those that pass the rules."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from openqwen.agent.instruct.execution import try_code
from openqwen.agent.instruct.filters import Rules
from openqwen.agent.instruct.job import Batch, Job
from openqwen.agent.instruct.prompts import answer_prompt, answer_stop, parse_tasks, task_prompt
from openqwen.agent.instruct.sample import Sample, Verdict
from openqwen.agent.instruct.seeds import Task
from openqwen.agent.models import Options, Prompt, Reply
from openqwen.core.errors import UserError
from openqwen.core.files import sha256_text

SHOWN_ANSWERS = 3  # to a base model
KIND = "general"


@dataclass
class GeneralMaker:
    """Makes batches of samples; what it keeps serves as examples of later batches.

    Attributes:
        job: what is asked for.
        rules: the rules and what samples are compared with.
        own: tasks of the model that were kept.
    """

    job: Job
    rules: Rules
    own: list[Task]

    def make(self, batch: Batch) -> list[Verdict]:
        """Return what became of every task that the model wrote, in order."""
        config = self.job.config
        rng = random.Random(batch.seed)
        shown = [self._examples(batch.language, rng) for _ in range(config.batch)]
        asked = [task_prompt(s, batch.language, new=config.tasks_a_prompt) for s in shown]
        replies = [
            reply
            for begin in _runs([stop for _, stop in asked])
            for reply in self.job.model.reply(
                [asked[i][0] for i in begin],
                Options(
                    max_new_tokens=config.task_tokens,
                    stop=(asked[begin[0]][1],),
                    temperature=config.temperature,
                    top_p=config.top_p,
                    seed=batch.seed + begin[0],
                ),
            )
        ]
        raw: list[tuple[Task, dict[str, Any]]] = []
        for (prompt, _), examples, reply in zip(asked, shown, replies, strict=True):
            facts = {"task_prompt": sha256_text(prompt), "examples": [e.id for e in examples]}
            is_whole = reply.finish_reason == "stop"
            for instruction, given in parse_tasks(reply.text, batch.language, is_whole=is_whole):
                task = Task(batch.id(KIND, len(raw)), batch.language, instruction, given)
                raw.append((task, self.job.provenance(batch) | facts | {"input": given}))
        return self._answered(raw, batch, rng)

    def absorb(self, verdicts: Sequence[Verdict]) -> None:
        """Take in what an earlier attempt kept of a batch."""
        for sample in (verdict.sample for verdict in verdicts if verdict.reason is None):
            self._keep(sample)

    def _answered(
        self, raw: list[tuple[Task, dict[str, Any]]], batch: Batch, rng: random.Random
    ) -> list[Verdict]:
        judge = self.rules.judge_instruction
        reasons = [judge(t.instruction, t.language, given=t.input) for t, _ in raw]
        asked = [place for place, reason in enumerate(reasons) if reason is None]
        form = self.job.config.form
        examples = self._answers_shown(batch.language, rng) if form == "text" else []
        prompts = [answer_prompt(raw[place][0], examples, form=form) for place in asked]
        answers = dict(zip(asked, self._answer(prompts, batch.language), strict=True))
        verdicts = []
        for place, (task, facts) in enumerate(raw):
            messages = [{"role": "user", "content": task.question}]
            sample = Sample(task.id, KIND, task.language, task.instruction, messages, facts)
            reason = reasons[place]
            if reason is not None:
                verdicts.append(Verdict(sample, *reason))
                continue
            reply = answers[place]
            prompt = prompts[asked.index(place)]
            more = {
                "answer_prompt": sha256_text(str(prompt)),
                "finish_reason": reply.finish_reason,
            }
            said = {"role": "assistant", "content": reply.text.strip()}
            sample = replace(sample, messages=[*messages, said], provenance=facts | more)
            verdicts.append(self._judge(sample))
        return verdicts

    def _answer(self, prompts: Sequence[Prompt], language: str) -> list[Reply]:
        if not prompts:
            return []
        config = self.job.config
        stop = answer_stop(language, form=config.form)
        options = Options(max_new_tokens=config.answer_tokens, stop=stop)
        return self.job.model.reply(prompts, options)

    def _judge(self, sample: Sample) -> Verdict:
        reason = self.rules.judge(sample)
        if reason is None:
            reason, facts = try_code(sample, self.job.config)
            sample = replace(sample, provenance=sample.provenance | facts)
        if reason is not None:
            return Verdict(sample, *reason)
        self._keep(sample)
        return Verdict(sample)

    def _keep(self, sample: Sample) -> None:
        self.rules.keep(sample)
        given = str(sample.provenance.get("input", ""))
        task = Task(sample.id, sample.language, sample.instruction, given, sample.answer)
        self.own.append(task)

    def _examples(self, language: str, rng: random.Random) -> list[Task]:
        """Return tasks to show, people's and the model's own, in an order by chance."""
        config = self.job.config
        fits = [t for t in self.job.seeds.of(language)[0] if _size(t) <= config.max_example_chars]
        people = [task for task in fits if task.id not in self.job.seeds.own]
        if not people:
            raise UserError(
                f"no {language} seed of at most {config.max_example_chars} characters; give seeds "
                "in that language or leave it out of --languages"
            )
        own = [t for t in fits if t.id in self.job.seeds.own]
        own += [
            t for t in self.own if t.language == language and _size(t) <= config.max_example_chars
        ]
        num_own = min(config.own_examples, len(own), config.examples - 1)
        num_people = min(config.examples - num_own, len(people))
        shown = rng.sample(people, num_people) + rng.sample(own, num_own)
        rng.shuffle(shown)
        return shown

    def _answers_shown(self, language: str, rng: random.Random) -> list[Task]:
        tasks = self.job.seeds.of(language)[0]
        fits = [t for t in tasks if t.output and len(t.output) <= self.job.config.max_example_chars]
        return rng.sample(fits, min(SHOWN_ANSWERS, len(fits)))


def _size(task: Task) -> int:
    return len(task.instruction) + len(task.input)


def _runs(values: Sequence[str]) -> list[list[int]]:
    """Return the places of equal neighbours together."""
    runs: list[list[int]] = []
    for place, value in enumerate(values):
        if runs and values[runs[-1][0]] == value:
            runs[-1].append(place)
        else:
            runs.append([place])
    return runs
