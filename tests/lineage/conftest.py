"""A small corpus of real text that every machine has, and a recipe small enough for tests."""

import inspect
import json
import pydoc

import pytest

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
"""


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """Real HTML (pydoc), real Python code and a few conversations."""
    folder = tmp_path_factory.mktemp("corpus")
    for name in MODULES:
        module = __import__(name)
        page = pydoc.html.page(name, pydoc.html.document(module))
        (folder / f"{name}.html").write_text(page, encoding="utf-8")
    for name in MODULES[:30]:
        source = inspect.getsource(__import__(name))
        (folder / f"{name}.py").write_text(source, encoding="utf-8")
    with (folder / "chats.jsonl").open("w", encoding="utf-8") as file:
        for name in MODULES[:20]:
            question = {"role": "user", "content": f"What is the module {name} for?"}
            text = (inspect.getdoc(__import__(name)) or name).splitlines()[0]
            answer = {"role": "assistant", "content": text}
            file.write(json.dumps({"messages": [question, answer]}) + "\n")
    return folder


@pytest.fixture(scope="session")
def small_recipe(corpus, tmp_path_factory):
    """The path of a recipe file that trains on the corpus in seconds."""
    path = tmp_path_factory.mktemp("recipe") / "small.toml"
    path.write_text(RECIPE.format(paths=json.dumps(str(corpus))), encoding="utf-8")
    return path
