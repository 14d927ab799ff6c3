"""The field's own harness (lm-evaluation-harness) with a model of ours behind it."""
