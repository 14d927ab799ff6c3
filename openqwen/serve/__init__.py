"""Serving: the OpenAI-compatible server, the chat page, pages that save by themselves."""
