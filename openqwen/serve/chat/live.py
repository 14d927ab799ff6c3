"""A reply in the middle: what of it is thought, what is already the answer.

split_live("Thought: easy.\nFinal Answer: 3", "react")     # ("easy.", "3")
"""

from openqwen.agent.config import Form

FINAL, ACTION = "Final Answer:", "\nAction:"


def split_live(text: str, form: Form) -> tuple[str, str]:
    """Return the thought and the answer in a reply that may not be finished.

    Args:
        text: the reply so far.
        form: how tools are called.
    """
    if form != "react":
        before, found, _ = text.partition("<tool_call>")
        if found:
            return before.strip(), ""
        is_bare = text.lstrip().startswith(("{", "```json", "<tool"))  # Qwen2.5-Coder's calls
        return ("", "") if is_bare else ("", text)
    thought, found, answer = text.partition(FINAL)
    if found:
        return _bare(thought), answer.strip()
    return _bare(("\n" + text).partition(ACTION)[0]), ""


def _bare(thought: str) -> str:
    return thought.strip().removeprefix("Thought:").strip()
