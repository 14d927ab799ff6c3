"""From raw pages to documents, a mixture and token shards (§2.1)."""
