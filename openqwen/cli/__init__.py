"""`openqwen <verb>`: parses and composes, holds no logic."""
