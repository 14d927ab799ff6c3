"""What training reads: token shards, conversations, pairs, made tasks."""
