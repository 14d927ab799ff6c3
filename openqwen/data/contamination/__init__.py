"""Overlap with benchmarks: indexed, found, reported, cut."""
