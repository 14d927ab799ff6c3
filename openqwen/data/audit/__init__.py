"""The account of what the steps did, and people's marks on it."""
