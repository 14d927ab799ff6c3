"""The share of problems that one of k programs solves, from n programs each (Chen et al. 2021).

pass_at_k(n=10, correct=3, k=1)      # 0.3
"""


def pass_at_k(*, n: int, correct: int, k: int) -> float:
    """Return the unbiased estimate 1 - C(n - c, k) / C(n, k) for one problem.

    Raises:
        ValueError: if there are fewer programs than k, or more correct ones than programs.
    """
    if not 1 <= k <= n or not 0 <= correct <= n:
        raise ValueError(f"pass@{k} of {correct} correct programs out of {n}")
    missed = 1.0
    for place in range(n - correct + 1, n + 1):
        missed *= max(0.0, 1 - k / place)
    return 1 - missed
