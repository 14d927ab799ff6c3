"""`openqwen tokenizer compare`: Figure 3, tokens over XLM-R's by language."""

import argparse
from pathlib import Path

NAME = "compare"
HELP = "count tokens by language against other tokenizers; lower is better"
MANUAL = """\
Measures bytes a token by language, beside other models' vocabularies where their files are
here."""
DOCS = "docs/tokenizer.md"
EXAMPLE = (
    "openqwen tokenizer compare --out comparison\n"
    "openqwen tokenizer compare --tokenizers my-tokenizer cl100k llama --texts texts/held-out "
    "--out comparison"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments."""
    parser.add_argument("--out", required=True, help="directory to write the tables and the plot")
    parser.add_argument(
        "--tokenizers",
        metavar="NAME_OR_PATH",
        nargs="+",
        default=[],
        help="names (xlm-r, qwen, cl100k, llama, baichuan …), rank files, tokenizer.json, GGUF, "
        ".model, directories; default: all of Figure 3's that packages hold",
    )
    parser.add_argument(
        "--with",
        dest="also",
        metavar="PATH",
        nargs="+",
        default=[],
        help="these beside the default",
    )
    parser.add_argument(
        "--baseline", default="xlm-r", help="what the tokens are measured against (xlm-r)"
    )
    parser.add_argument(
        "--texts",
        metavar="PATH",
        nargs="+",
        default=[],
        help="a documents stage's directory, folders or files of text (LANGUAGE.jsonl …); default: "
        "the held-out part of packages in 18 languages and code",
    )
    parser.add_argument(
        "--max-characters", type=int, default=1_000_000, help="of each language (1,000,000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the intervals' resampling (0)")


def run(args: argparse.Namespace) -> int:
    """Compare and write."""
    from openqwen.core.errors import UserError
    from openqwen.core.log import say
    from openqwen.data.texts.language_texts import LANGUAGES, package_texts
    from openqwen.data.texts.text_files import read_texts
    from openqwen.data.texts.texts_by_language import sample_by_language
    from openqwen.tokenizer.compare import compare_tokenizers
    from openqwen.tokenizer.figure import write_comparison
    from openqwen.tokenizer.peers import open_counter
    from openqwen.tokenizer.peers_catalogue import DEFAULT_PEERS

    if args.max_characters < 1:
        raise UserError(f"--max-characters {args.max_characters} is below 1")
    chosen = args.tokenizers or [*args.also, *DEFAULT_PEERS]
    names = [args.baseline, *(name for name in chosen if name != args.baseline)]
    counters = [open_counter(name) for name in names]
    if args.texts:
        paths = [Path(name).expanduser() for name in args.texts]
        documents = read_texts(paths, split="validation")
    else:
        documents = package_texts(LANGUAGES, held_out=True)
    texts = sample_by_language(documents, max_characters=args.max_characters)
    table = compare_tokenizers(counters, texts, seed=args.seed)
    write_comparison(Path(args.out), table)
    say(f"{'tokenizer':<14}{Path(args.out) / 'comparison.md'}")
    return 0
