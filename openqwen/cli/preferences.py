"""`openqwen preferences`: collect pairs of answers, and read how people voted on them."""

import argparse
import json
from pathlib import Path

from openqwen.cli.actions import add_action

NAME = "preferences"
HELP = "collect judged pairs of answers: people or a model judge"
MANUAL = """\
collect writes a page that shows two answers a prompt; openqwen serve --pages DIR shows it so
that it saves by itself, read takes the files of votes or the folder with them."""
DOCS = "docs/ppo.md"
EXAMPLE = """\
openqwen preferences collect --models runs/tiny/chat runs/tiny/chat-rlhf --prompts mine.jsonl \\
    --num 40 --sampling temperature=0.7,top_p=0.9 --judge page --out votes
openqwen serve --pages votes                     # vote in a browser; each vote is kept at once
openqwen preferences read votes --of votes --out pairs.jsonl"""
COLLECT_EXAMPLE, READ_EXAMPLE = "\n".join(EXAMPLE.splitlines()[:2]), EXAMPLE.splitlines()[-1]
PAIRS_NAME, PAGE_NAME = "pairs.jsonl", "vote.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add both actions' arguments."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, dest="action", help="one of"
    )
    collect = add_action(
        actions, "collect", "let models answer and pair their answers", COLLECT_EXAMPLE, docs=DOCS
    )
    collect.add_argument(
        "--models", nargs="+", required=True, metavar="DIR", help="models that answer"
    )
    collect.add_argument(
        "--prompts", nargs="+", required=True, metavar="FILE", help="conversations; their questions"
    )
    collect.add_argument("--num", type=int, default=40, help="prompts, drawn evenly by tags (40)")
    collect.add_argument(
        "--sampling",
        action="append",
        metavar="SETTINGS",
        help="such as temperature=0.7,top_p=0.9; may be given often (temperature=1)",
    )
    collect.add_argument("--max-new-tokens", type=int, default=256, help="of an answer (256)")
    collect.add_argument(
        "--judge", default="page", help="page (people vote on it) or model:DIR, a reward model"
    )
    collect.add_argument("--seed", type=int, default=0, help="of every draw (0)")
    collect.add_argument("--out", required=True, help="directory to write")
    read = add_action(
        actions, "read", "turn the votes that the page saved into pairs", READ_EXAMPLE, docs=DOCS
    )
    read.add_argument(
        "votes", nargs="+", metavar="VOTES", help="files of votes, one a person, or their folder"
    )
    read.add_argument("--of", required=True, metavar="DIR", help="what `collect` wrote")
    read.add_argument("--out", required=True, metavar="FILE", help="pairs to write, JSON Lines")


def run(args: argparse.Namespace) -> int:
    """Collect or read."""
    return _collect(args) if args.action == "collect" else _read(args)


def _collect(args: argparse.Namespace) -> int:
    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.data.training.conversations import first_question, read_conversations
    from openqwen.data.training.prompt_sampler import sample_prompts
    from openqwen.eval import collect

    if args.judge != "page" and not args.judge.startswith("model:"):
        raise UserError(f"--judge {args.judge}: write page or model:DIR")
    set_aside = SetAside()
    paths = [Path(name) for name in args.prompts]
    talks = list(read_conversations(paths, set_aside=set_aside))
    if set_aside.counts:
        say(set_aside.summary())
    if not talks:
        raise UserError(f"{', '.join(args.prompts)}: no conversation in them")
    prompts, account = sample_prompts(
        [first_question(talk) for talk in talks], args.num, seed=args.seed
    )
    say(
        f"{account['drawn']} of {account['prompts']:,} prompts, {account['tags_drawn']} of "
        f"{account['tags']} tags, entropy {account['entropy_bits']} bits (a plain draw: "
        f"{account['entropy_bits_of_a_plain_draw']})"
    )
    candidates = collect.answer_prompts(
        [Path(name) for name in args.models],
        args.sampling or ["temperature=1"],
        prompts,
        seed=args.seed,
        max_new_tokens=args.max_new_tokens,
    )
    duels = collect.pair_answers(candidates, prompts, seed=args.seed)
    if not duels:
        raise UserError(
            "no prompt got two different answers; name several models, or samplings with a "
            "temperature above 0"
        )
    out = Path(args.out)
    collect.write_duels(out / "duels.jsonl", duels)
    if args.judge == "page":
        collect.write_vote_page(out / PAGE_NAME, duels)
        say(f"{len(duels)} pairs; vote in a browser: {out / PAGE_NAME}")
        return 0
    judged = collect.judge_by_model(duels, Path(args.judge.removeprefix("model:")))
    _write(out / PAIRS_NAME, judged)
    say(f"{len(judged)} judged pairs: {out / PAIRS_NAME}")
    return 0


def _read(args: argparse.Namespace) -> int:
    from openqwen.core.log import say
    from openqwen.core.pages import saved_files
    from openqwen.eval import collect

    duels = collect.read_duels(Path(args.of) / "duels.jsonl")
    judged, counts = collect.read_votes(duels, saved_files(args.votes, "votes*.json"))
    _write(Path(args.out), judged)
    say(
        f"{counts['votes']} votes on {len(duels)} pairs: {counts['judged']} judged, "
        f"{counts['ties']} ties, {counts['skips']} skipped"
    )
    if counts["shared"]:
        say(f"of {counts['shared']} pairs with several votes {counts['agreed']} in agreement")
    say(f"{len(judged)} pairs: {args.out}")
    return 0


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    from openqwen.core.files import write_text

    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
