"""The benchmarks that `openqwen eval` knows: what they are, their files, how they are asked."""
