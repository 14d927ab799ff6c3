"""Log-likelihoods of texts given texts: shared beginnings computed once, answers side by side."""
