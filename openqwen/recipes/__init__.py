"""Complete recipes: functions that return every setting of a lineage."""
