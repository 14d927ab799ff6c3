"""One engine of benchmarks/tokenizer_speed.py, in a process and an environment of its own.

Reads one JSON command a line and answers one. Imports nothing of openqwen but where that is the
engine.
"""

import array
import base64
import glob
import hashlib
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from importlib.metadata import version


def read_ranks(file):
    with open(file, "rb") as lines:
        return {base64.b64decode(token): int(rank) for token, rank in map(bytes.split, lines)}


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def openqwen(folder, pattern):
    from openqwen.tokenizer.tokenizer import Tokenizer

    tokenizer = Tokenizer.from_file(folder)
    tokenizer.encode("")
    return tokenizer.encode, tokenizer.encode_batch


def tiktoken(folder, pattern):
    import tiktoken

    engine = tiktoken.Encoding(
        "qwen", pat_str=pattern, mergeable_ranks=read_ranks(f"{folder}/qwen.tiktoken"),
        special_tokens={},
    )  # fmt: skip
    return engine.encode_ordinary, lambda t: engine.encode_ordinary_batch(t, num_threads=2)


def riptoken(folder, pattern):
    import riptoken

    engine = riptoken.CoreBPE(read_ranks(f"{folder}/qwen.tiktoken"), {}, pattern)
    return engine.encode_ordinary, engine.encode_ordinary_batch


def quicktok(folder, pattern):
    import quicktok
    from quicktok import _import_core as core

    with tempfile.TemporaryDirectory() as data:
        core.write_files(data, "q", read_ranks(f"{folder}/qwen.tiktoken"), {}, "qwen", False)
        core.ensure_tables(
            data, os.path.join(os.path.dirname(quicktok.__file__), "data"), "qwen", 0
        )
        engine = quicktok.Tokenizer("q", data)

    def batch(texts):
        tokens, starts = engine.encode_batch(texts, 2, False)
        ids = tokens.tolist()
        return [ids[a:b] for a, b in itertools.pairwise(starts.tolist())]

    return engine.encode_ordinary, batch


def bpe_qwen(folder, pattern):
    package = importlib.util.find_spec("bpe_qwen").submodule_search_locations[0]
    library = glob.glob(f"{package}/bpe_qwen.*.so")[0]  # the package itself wants transformers
    spec = importlib.util.spec_from_file_location("bpe_qwen", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as data, open(f"{folder}/tokenizer.json") as file:
        model = json.load(file)["model"]
        with open(f"{data}/vocab.json", "w") as out:
            json.dump(model["vocab"], out)
        with open(f"{data}/merges.txt", "w") as out:
            out.write("\n".join(model["merges"]) + "\n")
        engine = module.QwenTokenizer(data)
    return engine.encode, lambda texts: [engine.encode(text) for text in texts]


def tokenizers(folder, pattern):
    from tokenizers import Tokenizer

    engine = Tokenizer.from_file(f"{folder}/tokenizer.json")
    return (
        lambda text: engine.encode(text, add_special_tokens=False).ids,
        lambda texts: [e.ids for e in engine.encode_batch(texts, add_special_tokens=False)],
    )


def train(name, file, num_ranks, pattern):
    """Learn ranks from a JSON list of texts; return seconds of the trainer alone."""
    with open(file) as lines:
        texts = json.load(lines)
    start = time.perf_counter()
    if name == "rustbpe":
        import rustbpe

        rustbpe.Tokenizer().train_from_iterator(iter(texts), num_ranks, pattern=pattern)
    elif name == "bpeasy":
        import bpeasy

        bpeasy.train_bpe(iter(texts), pattern, 128, num_ranks)
    else:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

        engine = Tokenizer(models.BPE())
        split = pre_tokenizers.Split(Regex(pattern), "isolated")
        level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        engine.pre_tokenizer = pre_tokenizers.Sequence([split, level])
        trainer = trainers.BpeTrainer(
            vocab_size=num_ranks, initial_alphabet=level.alphabet(), show_progress=False
        )
        engine.train_from_iterator(texts, trainer)
    return time.perf_counter() - start


PACKAGES = {"quicktok": "quicktok-v1", "bpe_qwen": "bpe-qwen"}
ENGINES = {f.__name__: f for f in (openqwen, quicktok, riptoken, bpe_qwen, tiktoken, tokenizers)}


def digest(rows):
    return [hashlib.sha256(array.array("I", row).tobytes()).hexdigest()[:16] for row in rows]


def serve(name):
    one = batch = None
    texts = []
    for line in sys.stdin:
        command = json.loads(line)
        answer = {}
        if command["do"] == "load":
            before = resident_bytes()
            start = time.perf_counter()
            one, batch = ENGINES[name](command["folder"], command["pattern"])
            answer["seconds"] = time.perf_counter() - start
            answer["bytes"] = resident_bytes() - before
            answer["version"] = version(PACKAGES.get(name, name))
        elif command["do"] == "texts":
            with open(command["file"]) as file:
                texts = json.load(file)
        elif command["do"] == "train":
            answer["seconds"] = train(
                name, command["file"], command["num_ranks"], command["pattern"]
            )
            answer["version"] = version(name)
        else:
            start = time.perf_counter()
            rows = [one(text) for text in texts] if command["do"] == "one" else batch(texts)
            answer["seconds"] = time.perf_counter() - start
            answer["digests"] = digest(rows) if command.get("digests") else None
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
