"""Experiments over whole stages: what a step of the lineage is worth, measured by its effect."""
