"""`openqwen data marks`: what the marks of the audit pages say of each filter."""

import argparse
from pathlib import Path

NAME = "marks"
HELP = "summarise the marks of audit pages: how often each filter was right, and who agrees"
MANUAL = """\
Reads the files of marks that the audit page saves: by download, or by itself where openqwen
serve --pages shows it. A folder stands for all files of marks in it. Says how often each step
was right, and how far markers agree."""
DOCS = "docs/audit.md"
EXAMPLE = """\
openqwen data marks audit-marks.json --of corpus/documents
openqwen data marks corpus/documents --of corpus/documents
openqwen data marks ling.json model.json --of corpus/documents --out marks --export samples"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument(
        "marks",
        nargs="+",
        metavar="MARKS",
        help="files that the audit pages saved, or their folder",
    )
    parser.add_argument(
        "--of",
        metavar="DIR",
        help="the documents stage they speak of: weights its reasons, finds unknown marks",
    )
    parser.add_argument("--out", metavar="DIR", help="write marks.md and marks.json into it")
    parser.add_argument(
        "--export",
        metavar="DIR",
        help="write good.jsonl and bad.jsonl into it, to train a quality classifier on",
    )


def run(args: argparse.Namespace) -> int:
    """Read the marks and print their summary."""
    from openqwen.core.errors import UserError
    from openqwen.core.files import write_json, write_text
    from openqwen.core.log import say
    from openqwen.core.pages import saved_files
    from openqwen.data.audit.marks import read_marks
    from openqwen.data.audit.marks_report import as_markdown, export
    from openqwen.data.audit.marks_summary import counts_of, summarise
    from openqwen.data.audit.sections import Corpus

    if args.export and not args.of:
        raise UserError("--export needs --of: the documents stage where the texts are")
    marks, left_out = read_marks(saved_files(args.marks, "*-marks*.json"))
    counts = None
    if args.of:
        counts = counts_of(Path(args.of))
        known = Corpus(Path(args.of)).texts({mark.id for mark in marks}).keys()
        unknown = sum(mark.id not in known for mark in marks)
        marks = [mark for mark in marks if mark.id in known]
        left_out |= {"of texts that are not in the corpus": unknown} if unknown else {}
    if not marks:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items())
        raise UserError(f"{', '.join(args.marks)}: no mark to count" + (f" ({why})" if why else ""))
    summary = summarise(marks, counts=counts)
    text = as_markdown(summary, left_out)
    print(text, end="")
    if args.out:
        out = Path(args.out)
        write_text(out / "marks.md", text)
        write_json(out / "marks.json", summary | {"left_out": left_out})
        say(f"\n{out / 'marks.md'}")
    if args.export:
        written = export(marks, Path(args.of), Path(args.export))
        said = ", ".join(f"{count:,} {name}" for name, count in written.items() if count)
        say(f"\n{args.export}: {said}")
    return 0
