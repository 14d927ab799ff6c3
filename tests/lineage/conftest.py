"""A small corpus of real text that every machine has, and a recipe small enough for tests."""

import inspect
import json
import pydoc
import re

import pytest

from openqwen.cli.main import main

MODULES = [
    "argparse",
    "ast",
    "asyncio",
    "base64",
    "bisect",
    "calendar",
    "cmd",
    "code",
    "codecs",
    "collections",
    "colorsys",
    "configparser",
    "contextlib",
    "copy",
    "csv",
    "dataclasses",
    "datetime",
    "decimal",
    "difflib",
    "dis",
    "doctest",
    "email",
    "enum",
    "filecmp",
    "fileinput",
    "fnmatch",
    "fractions",
    "functools",
    "getopt",
    "glob",
    "gzip",
    "hashlib",
    "heapq",
    "html",
    "imaplib",
    "inspect",
    "ipaddress",
    "json",
    "keyword",
    "linecache",
    "locale",
    "logging",
    "mailbox",
    "mimetypes",
    "netrc",
    "numbers",
    "operator",
    "optparse",
    "os",
    "pathlib",
    "pdb",
    "pickle",
    "pkgutil",
    "platform",
    "plistlib",
    "poplib",
    "pprint",
    "profile",
    "pstats",
    "queue",
    "quopri",
    "random",
    "re",
    "reprlib",
    "sched",
    "secrets",
    "selectors",
    "shelve",
    "shlex",
    "shutil",
    "site",
    "smtplib",
    "socket",
    "statistics",
    "string",
    "stringprep",
    "struct",
    "subprocess",
    "symtable",
    "tabnanny",
    "tarfile",
    "tempfile",
    "textwrap",
    "threading",
    "timeit",
    "token",
    "tokenize",
    "trace",
    "traceback",
    "types",
    "typing",
    "unittest",
    "uuid",
    "venv",
    "warnings",
    "wave",
    "weakref",
    "webbrowser",
    "xml",
    "zipfile",
]

RECIPE = """
extends = "tiny"
[sources]
paths = [{paths}]
benchmarks = []
preferences = []
licence = "PSF-2.0"
[documents]
skip = ["rules"]
[documents.mixture]
weights = {{}}
[tokenizer]
num_ranks = 400
[shards]
context_length = 32
[base]
num_steps = 24
sequences_per_step = 4
micro_sequences = 2
warmup_steps = 2
log_every_steps = 4
evaluate_every_steps = 8
evaluation_tokens = 256
checkpoint_every_steps = 4
[base.model]
hidden_size = 32
num_hidden_layers = 2
num_attention_heads = 2
[longcontext]
length_multiples = [0.5, 1, 2, 4]
num_documents = 3
passkey_trials = 1
[chat]
context_length = 192
num_steps = 8
sequences_per_step = 2
micro_sequences = 1
warmup_steps = 1
learning_rate = 1e-3
log_every_steps = 2
evaluate_every_steps = 4
checkpoint_every_steps = 2
[preference]
num_comparisons = 40
max_tokens = 160
pairs_per_step = 8
learning_rate = 1e-3
log_every_steps = 1
evaluate_every_steps = 4
checkpoint_every_steps = 1
[reward]
paths = [{pairs}]
validation_share = 0.3
max_tokens = 160
pairs_per_step = 4
log_every_steps = 1
evaluate_every_steps = 4
checkpoint_every_steps = 1
[chat_rlhf]
num_steps = 6
value_warmup_steps = 2
queries_per_step = 4
max_prompt_tokens = 160
max_new_tokens = 12
micro_responses = 2
learning_rate = 1e-3
value_learning_rate = 1e-3
evaluation_prompts = 4
evaluate_every_steps = 3
checkpoint_every_steps = 1
[code]
num_steps = 4
sequences_per_step = 2
micro_sequences = 1
learning_rate = 1e-3
log_every_steps = 1
evaluate_every_steps = 2
evaluation_tokens = 256
checkpoint_every_steps = 1
[code_chat]
context_length = 384
num_steps = 4
sequences_per_step = 2
micro_sequences = 1
learning_rate = 1e-3
log_every_steps = 1
evaluate_every_steps = 2
checkpoint_every_steps = 1
evaluation_tasks = 2
[math_chat]
context_length = 128
num_problems = 120
evaluation_problems = 4
num_steps = 4
sequences_per_step = 2
micro_sequences = 1
learning_rate = 1e-3
log_every_steps = 1
evaluate_every_steps = 2
checkpoint_every_steps = 1
[evaluation]
documents_a_group = 3
document_tokens = 64
num_continuations = 6
passage_tokens = 16
continuation_tokens = 8
num_problems = 4
num_tool_queries = 6
reply_tokens = 8
"""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Real HTML (pydoc), real Python code and a few conversations."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in MODULES:
        module = __import__(name)
        page = pydoc.html.page(name, pydoc.html.document(module))
        page = re.sub(r"0x[0-9a-f]{6,}", "0x0", page)  # addresses differ from process to process
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    for name in MODULES[:30]:
        source = inspect.getsource(__import__(name))
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    with (folder / "chats.jsonl").open("w", encoding="utf-8") as file:
        for name in MODULES[:60]:
            question = {"role": "user", "content": f"What is the module {name} for?"}
            text = (inspect.getdoc(__import__(name)) or name).splitlines()[0]
            answer = {"role": "assistant", "content": text}
            file.write(json.dumps({"messages": [question, answer]}) + "\n")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """A file of preference pairs: what a module is for, against a shrug."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for name in MODULES[:40]:
            text = (inspect.getdoc(__import__(name)) or name).splitlines()[0]
            row = {"prompt": f"Tell me about {name}.", "chosen": text, "rejected": "No idea."}
            file.write(json.dumps(row) + "\n")
    return path


@pytest.fixture(scope="session")
def small_recipe(corpus, pairs, tmp_path_factory):
    """The path of a recipe file that trains on the corpus in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    text = RECIPE.format(paths=json.dumps(str(corpus)), pairs=json.dumps(str(pairs)))
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def finished(small_recipe, tmp_path_factory):
    """One undisturbed run of all stages."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    assert main(["run", str(small_recipe), "--out", str(out)]) == 0
    return out
