"""Walks a recipe's stages: order, skip, resume, status."""
