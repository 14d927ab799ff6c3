"""The Hugging Face agent: programs over a set of tools, in run mode and chat mode (Table 9)."""
