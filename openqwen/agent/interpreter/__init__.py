"""A Python session that a model drives: a Jupyter kernel inside the sandbox (§3.4)."""
