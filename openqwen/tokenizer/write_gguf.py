"""A vocabulary in the key-values of a GGUF file, for llama.cpp to give the same ids.

    fields = gguf_vocabulary(vocabulary, rows=151_936, chat_template=template)

Names: llama.cpp's `convert_hf_to_gguf.py` and gguf's `constants.py`. Rows of the embedding that no
token uses are named there as that script names them, [PAD151851] on.
"""

from collections.abc import Collection

from openqwen.core.errors import UserError
from openqwen.core.gguf import TokenType
from openqwen.core.gguf_writer import Metadata
from openqwen.tokenizer.control import END_OF_TEXT, IM_END
from openqwen.tokenizer.gguf import NFC_KEY, PATTERNS
from openqwen.tokenizer.huggingface import byte_letters
from openqwen.tokenizer.vocabulary import Vocabulary, list_merges


def gguf_vocabulary(
    vocabulary: Vocabulary,
    *,
    rows: int,
    chat_template: str | None,
    shown: Collection[str] = (),
    is_chat: bool = True,
) -> dict[str, Metadata]:
    """Return key -> value of a vocabulary.

    Args:
        vocabulary: ranks, control tokens and split pattern.
        rows: rows of the embedding, unused ones included.
        chat_template: Jinja, or None.
        shown: control tokens that belong to a reply's text.
        is_chat: whether `<|im_end|>` is the main end of a reply, else `<|endoftext|>`.

    Raises:
        UserError: if llama.cpp has no name for the split pattern, or there are more ids than rows.
    """
    pre = next((name for name, of in PATTERNS.items() if of == vocabulary.pattern), None)
    if pre is None:
        raise UserError(
            f"llama.cpp has no name for this tokenizer's split pattern, {vocabulary.pattern[:60]}…"
        )
    letters = byte_letters()
    named = {i: ("".join(letters[b] for b in t), TokenType.NORMAL)
             for t, i in vocabulary.ranks.items()}  # fmt: skip
    for name, i in vocabulary.controls.items():
        named[i] = (name, TokenType.USER_DEFINED if name in shown else TokenType.CONTROL)
    if max(named) >= rows:
        raise UserError(f"the tokenizer has id {max(named):,}, the model only {rows:,} rows")
    entries = [named.get(i, (f"[PAD{i}]", TokenType.UNUSED)) for i in range(rows)]
    spelled = {t: named[i][0] for t, i in vocabulary.ranks.items()}
    fields: dict[str, Metadata] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        NFC_KEY: vocabulary.nfc,
        "tokenizer.ggml.tokens": [text for text, _ in entries],
        "tokenizer.ggml.token_type": [int(kind) for _, kind in entries],
        "tokenizer.ggml.merges": [
            f"{spelled[left]} {spelled[right]}" for left, right in list_merges(vocabulary.ranks)
        ],
        "tokenizer.ggml.add_bos_token": False,
    }
    end, im_end = vocabulary.controls.get(END_OF_TEXT), vocabulary.controls.get(IM_END)
    main_end = im_end if is_chat and im_end is not None else end
    if main_end is not None:
        fields["tokenizer.ggml.eos_token_id"] = main_end
    if end is not None:
        # llama.cpp assumes other ids where these are missing; the first is never added
        fields |= {f"tokenizer.ggml.{key}_token_id": end for key in ("bos", "padding")}
    if chat_template is not None:
        fields["tokenizer.chat_template"] = chat_template
    return fields


def unsaid_in_gguf(vocabulary: Vocabulary) -> list[str]:
    """Return one line for each habit of the vocabulary that llama.cpp does not have."""
    lines = []
    if vocabulary.nfc:
        lines.append(
            "llama.cpp does not compose text (NFC) before encoding, as this tokenizer does"
        )
    return lines
