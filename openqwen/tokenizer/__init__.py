"""Byte-level BPE on tiktoken ranks: files, training, ChatML (§2.2, A.1.1)."""
