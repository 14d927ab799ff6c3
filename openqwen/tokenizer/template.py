"""What a ChatML conversation may hold, and its rules as a Jinja template for other tools."""

from collections.abc import Iterable, Mapping

from openqwen.tokenizer.control import IM_END, IM_START

ROLES = ("system", "user", "assistant", "tool")
DEFAULT_SYSTEM = "You are a helpful assistant."  # contracts.md, SFT mask


class TemplateText(str):
    """A content that a template wrote around others' text, as Qwen2.5's does with `<tool_call>`.

    It is a text like any other; only where the template itself wrote a control token does it become
    one, if the vocabulary has it. A name that others wrote stays text.

        TemplateText([("<tool_call>", True), (typed_by_somebody, False)])
    """

    parts: tuple[tuple[str, bool], ...]

    def __new__(cls, parts: Iterable[tuple[str, bool]]) -> "TemplateText":
        """Join parts: a text, and whether it is a control token's name."""
        kept = tuple(parts)
        made = super().__new__(cls, "".join(text for text, _ in kept))
        made.parts = kept
        return made

    def __add__(self, other: str) -> "TemplateText":
        """Append text, or another's parts."""
        return TemplateText([*self.parts, *template_parts(other)])

    def __reduce__(self) -> tuple[type["TemplateText"], tuple[tuple[tuple[str, bool], ...]]]:
        """Let copies and other processes have the parts, too."""
        return TemplateText, (self.parts,)

    def segments(self, controls: Mapping[str, int]) -> list[tuple[str, bool]]:
        """Return the parts with those that `controls` lacks as text; neighbours are joined."""
        joined: list[tuple[str, bool]] = []
        for text, is_control in self.parts:
            is_control &= text in controls
            if joined and not is_control and not joined[-1][1]:
                joined[-1] = (joined[-1][0] + text, False)
            elif text:
                joined.append((text, is_control))
        return joined


def template_parts(text: str) -> tuple[tuple[str, bool], ...]:
    """Return a content's parts; an ordinary one has none that is a control token."""
    return text.parts if isinstance(text, TemplateText) else ((text, False),)


def chat_template(default_system: str | None = DEFAULT_SYSTEM) -> str:
    """Return the Jinja template that renders what `chatml.render` renders.

    The texts are equal. Tools that tokenize the finished text, rather than role and content apart,
    get other ids where a content starts with line breaks or holds a control token's name.
    """
    lines = [
        "{%- if not messages -%}",
        "{{- raise_exception('a conversation needs at least one message') -}}",
        "{%- endif -%}",
        "{%- set found = namespace(system=false) -%}",
        "{%- for message in messages -%}",
        f"{{%- if message['role'] not in {list(ROLES)} -%}}",
        f"{{{{- raise_exception('use one of the roles {', '.join(ROLES)}') -}}}}",
        "{%- endif -%}",
        "{%- if message['role'] == 'system' -%}{%- set found.system = true -%}{%- endif -%}",
        "{%- endfor -%}",
        "{%- for message in messages -%}",
        f"{{{{- '{IM_START}' + message['role'] + '\\n' + message['content'] + '{IM_END}\\n' -}}}}",
        "{%- endfor -%}",
        "{%- if add_generation_prompt -%}",
        f"{{{{- '{IM_START}assistant\\n' -}}}}",
        "{%- endif -%}",
    ]
    if default_system is not None:
        quoted = default_system.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
        default = f"{{{{- '{IM_START}system\\n{quoted}{IM_END}\\n' -}}}}"
        lines[10:10] = ["{%- if not found.system -%}", default, "{%- endif -%}"]
    return "\n".join(lines)
