"""Tables and plots of a run, beside the report's own numbers."""
