"""The Hugging Face agent benchmark (Table 9)."""
