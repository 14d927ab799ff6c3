"""People, or models, rank answers of several models to the same prompts (Figure 4, A.2.2)."""
