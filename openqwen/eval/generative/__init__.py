"""Benchmarks whose answer is a written reply: code that runs, numbers, formulas, exam sheets."""
