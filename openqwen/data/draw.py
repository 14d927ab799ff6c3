"""Random choices that depend on a document alone: the same in any order and any process."""

import hashlib


def draw(seed: int, purpose: str, id: str) -> float:
    """Return a number in [0, 1) that depends on seed, purpose and document id alone."""
    text = f"{seed}\0{purpose}\0{id}".encode("utf-8", "surrogatepass")
    # 53 bits: what a float holds exactly
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest()) >> 11) / (1 << 53)
