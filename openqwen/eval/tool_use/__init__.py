"""The tool-use benchmark: tool selection, tool input, false positives (Table 6)."""
