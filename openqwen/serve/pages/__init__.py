"""The pages of earlier stages, served: marks, votes and ranks save themselves, a file a person."""
