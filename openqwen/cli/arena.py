"""`openqwen arena`: answers of several models side by side, blind; votes, ratings (Figure 4)."""

import argparse
from pathlib import Path

from openqwen.cli.actions import add_action

NAME = "arena"
HELP = "let people or models rank several models' answers, blind, and rate the models"
MANUAL = """\
collect writes a page to vote on that hides who wrote what. openqwen serve --pages DIR shows it
so that every rank is kept at once; saved by download, vote takes the files."""
DOCS = "docs/arena.md"
EXAMPLE = """\
openqwen arena collect --models runs/tiny/chat runs/tiny/chat-rlhf --prompts mine.jsonl --out arena
openqwen serve --pages arena                     # rank in a browser; each rank is kept at once
openqwen arena vote arena ranks.json             # what the page saved by download
openqwen arena judge arena --reward runs/tiny/reward
openqwen arena table arena --baseline runs/tiny/chat"""
COLLECT_EXAMPLE, _, VOTE_EXAMPLE, JUDGE_EXAMPLE, TABLE_EXAMPLE = EXAMPLE.splitlines()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four actions' arguments."""
    actions = parser.add_subparsers(
        title="actions", metavar="ACTION", required=True, dest="action", help="one of"
    )
    collect = add_action(
        actions,
        "collect",
        "let models answer, write the page to vote on",
        COLLECT_EXAMPLE,
        docs=DOCS,
    )
    collect.add_argument(
        "--models", nargs="+", required=True, metavar="MODEL", help="directories or endpoints"
    )
    collect.add_argument(
        "--prompts", nargs="+", required=True, metavar="FILE", help="rows of prompt and topic"
    )
    collect.add_argument("--num", type=int, default=300, help="prompts, topics evenly (300)")
    collect.add_argument("--max-new-tokens", type=int, default=512, help="of an answer (512)")
    collect.add_argument(
        "--temperature", type=float, default=0.0, help="of all answers (0.0: greedy)"
    )
    collect.add_argument("--seed", type=int, default=0, help="of every draw (0)")
    collect.add_argument("--out", required=True, metavar="DIR", help="directory to write")
    vote = add_action(
        actions, "vote", "keep the ranks that the page saved", VOTE_EXAMPLE, docs=DOCS
    )
    vote.add_argument("arena", metavar="DIR", help="what `collect` wrote")
    vote.add_argument(
        "ranks", nargs="+", metavar="RANKS", help="ranks.json, one a person, or their folder"
    )
    vote.add_argument("--annotator", default="", help="name, where the file has none")
    judge = add_action(
        actions, "judge", "let a model vote, marked as one", JUDGE_EXAMPLE, docs=DOCS
    )
    judge.add_argument("arena", metavar="DIR", help="what `collect` wrote")
    who = judge.add_mutually_exclusive_group(required=True)
    who.add_argument("--reward", metavar="DIR", help="a reward model's directory")
    who.add_argument("--model", metavar="MODEL", help="a chat model's directory, or an endpoint")
    table = add_action(
        actions, "table", "wins by topic, agreement, Elo, Bradley–Terry", TABLE_EXAMPLE, docs=DOCS
    )
    table.add_argument("arena", metavar="DIR", help="what `collect` wrote")
    table.add_argument(
        "--baseline", default="", metavar="MODEL", help="counted against (the first)"
    )
    table.add_argument("--seed", type=int, default=0, help="of Elo's orders and the bootstrap (0)")


def run(args: argparse.Namespace) -> int:
    """Do one action."""
    actions = {"collect": _collect, "vote": _vote, "judge": _judge, "table": _table}
    return actions[args.action](args)


def _collect(args: argparse.Namespace) -> int:
    from openqwen.agent.models import Options
    from openqwen.agent.open_model import open_model
    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.data.inputs.origin import SetAside
    from openqwen.eval.arena.ballots import (
        MAX_ANSWERS,
        PAGE_NAME,
        make_ballots,
        read_prompts,
        write_ballots,
    )
    from openqwen.eval.responses import Remembering, Responses

    if not 2 <= len(set(args.models)) <= MAX_ANSWERS:
        raise UserError(f"--models takes 2 to {MAX_ANSWERS} different ones")
    if args.num < 1 or args.seed < 0:
        raise UserError(f"--num must be at least 1 and --seed 0, got {args.num} and {args.seed}")
    out, set_aside = Path(args.out), SetAside()
    paths = [Path(name) for name in args.prompts]
    prompts = read_prompts(paths, num=args.num, seed=args.seed, set_aside=set_aside)
    if set_aside.counts:
        say(set_aside.summary())
    store = Responses(out / "responses.jsonl")
    options = Options(
        max_new_tokens=args.max_new_tokens, temperature=args.temperature, seed=args.seed
    )
    answers = {}
    for name in args.models:
        model = Remembering(open_model(name), store)
        replies = model.reply([prompt.messages for prompt in prompts], options)
        answers[name] = [reply.text for reply in replies]
        say(f"{name}: {len(replies)} answers")
    ballots = make_ballots(prompts, answers, seed=args.seed)
    write_ballots(out, ballots)
    say(f"{len(ballots)} ballots; rank them in a browser: {out / PAGE_NAME}")
    return 0


def _vote(args: argparse.Namespace) -> int:
    from openqwen.core.log import say
    from openqwen.core.pages import saved_files
    from openqwen.eval.arena.ballots import read_ballots
    from openqwen.eval.arena.votes import VOTES_NAME, open_votes, read_page_votes

    out = Path(args.arena)
    ballots = read_ballots(out)
    files = saved_files(args.ranks, "ranks*.json")
    votes = [vote for path in files for vote in read_page_votes(path, ballots, args.annotator)]
    with open_votes(out / VOTES_NAME) as kept:
        total = kept.add(votes)
    say(f"{len(votes)} votes taken; {total} are in {out / VOTES_NAME}")
    return 0


def _judge(args: argparse.Namespace) -> int:
    from openqwen.agent.open_model import open_model
    from openqwen.core.log import say
    from openqwen.eval.arena.ballots import read_ballots
    from openqwen.eval.arena.judges import votes_of_chat_model, votes_of_reward_model
    from openqwen.eval.arena.votes import VOTES_NAME, open_votes

    out = Path(args.arena)
    ballots = read_ballots(out)
    if args.reward:
        votes = votes_of_reward_model(ballots, Path(args.reward))
    else:
        votes = votes_of_chat_model(ballots, open_model(args.model))
    with open_votes(out / VOTES_NAME) as kept:
        total = kept.add(votes)
    say(f"{len(votes)} votes of a model taken; {total} are in {out / VOTES_NAME}")
    return 0


def _table(args: argparse.Namespace) -> int:
    from openqwen.core.files import write_json
    from openqwen.core.log import say
    from openqwen.eval.arena.ballots import read_ballots
    from openqwen.eval.arena.table import summarise, summary_lines
    from openqwen.eval.arena.votes import VOTES_NAME, open_votes

    out = Path(args.arena)
    ballots = read_ballots(out)
    with open_votes(out / VOTES_NAME) as kept:
        votes = kept.all()
    found = summarise(ballots, votes, baseline=args.baseline, seed=args.seed)
    write_json(out / "table.json", found)
    for line in summary_lines(found):
        say(line)
    return 0
