"""What the chat page says, in English and Chinese.

label("send")                 # gradio shows it in the browser's language, or the chosen one
both("stopped")               # HTML that holds both; the page's style shows one
"""

from html import escape
from typing import Any

import gradio as gr

TEXTS: dict[str, tuple[str, str]] = {
    "answering": ("Conversation", "对话"),
    "message": ("Your message", "你的消息"),
    "ask": ("Ask anything", "输入消息"),
    "send": ("Send", "发送"),
    "stop": ("Stop", "停止"),
    "settings": ("Settings", "设置"),
    "model": ("Model", "模型"),
    "tools": ("Tools", "工具"),
    "tools_info": ("The model may call them; code runs in a sandbox on the server.",
                   "模型可以调用它们；代码在服务器的沙箱中运行。"),
    "system": ("System prompt", "系统提示词"),
    "system_hint": ("Empty: the model's own", "留空则使用模型自带的"),
    "temperature": ("Temperature", "温度"),
    "temperature_info": ("0 takes the likeliest token", "0 表示总取最可能的词元"),
    "top_p": ("Top-p", "Top-p"),
    "top_k": ("Top-k", "Top-k"),
    "top_k_info": ("0 keeps all tokens", "0 表示不限制"),
    "max_tokens": ("Longest answer, tokens", "回答最长词元数"),
    "seed": ("Seed", "随机种子"),
    "seed_info": ("Empty: another one each time", "留空则每次不同"),
    "repetition": ("Repetition penalty", "重复惩罚"),
    "stopped": ("stopped", "已停止"),
    "length": ("cut at the longest answer", "已达最长回答"),
    "thinking": ("Thinking …", "思考中…"),
    "prompt_tokens": ("prompt", "提示词元"),
    "new_tokens": ("new", "新词元"),
    "speed": ("tokens/s", "词元/秒"),
    "dropped": ("an older image, no longer kept", "较早的图片，已不再保存"),
    "busy": ("The server has too much to do right now. Your message is kept: try again in a "
             "moment.", "服务器正忙。你的消息已保留，请稍后重试。"),
    "too_long": ("This conversation is too long for the model. Start a new one, or edit an "
                 "earlier message.", "对话超出了模型的上下文长度。请新建对话，或修改较早的消息。"),
    "stopping": ("The server is about to stop. Your message is kept.",
                 "服务器即将停止。你的消息已保留。"),
    "timeout": ("The answer took too long and was ended.", "回答用时过长，已结束。"),
    "no_model": ("This model is no longer served. Choose another one in the settings.",
                 "该模型已不再提供。请在设置中选择其他模型。"),
    "refused": ("The server refused this.", "服务器拒绝了该请求。"),
    "failed": ("The server failed on this message; it is kept, and can be sent again.",
               "服务器处理该消息时出错；消息已保留，可以重新发送。"),
}  # fmt: skip


def translations() -> gr.I18n:
    """Return the labels for gradio."""
    english = {f"oq_{key}": texts[0] for key, texts in TEXTS.items()}
    chinese = {f"oq_{key}": texts[1] for key, texts in TEXTS.items()}
    return gr.I18n(**{"en": english, "zh": chinese, "zh-CN": chinese, "zh-TW": chinese})


def label(key: str) -> Any:
    """Return a label that is shown in the page's language."""
    return gr.I18n()(f"oq_{key}")


def both(key: str) -> str:
    """Return HTML with a text in both languages, of which the page's style shows one."""
    english, chinese = (escape(text) for text in TEXTS[key])
    return f'<span class="oq-en">{english}</span><span class="oq-zh" lang="zh">{chinese}</span>'
