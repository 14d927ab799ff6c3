"""What a ChatML conversation may hold, and its rules as a Jinja template for other tools."""

from openqwen.tokenizer.control import IM_END, IM_START

ROLES = ("system", "user", "assistant", "tool")
DEFAULT_SYSTEM = "You are a helpful assistant."  # contracts.md, SFT mask


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
