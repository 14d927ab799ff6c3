"""Losses, optimiser, loop, checkpoints; pretraining (§2.4)."""
