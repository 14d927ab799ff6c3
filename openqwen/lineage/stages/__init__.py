"""One small file a kind of stage: hands directories and settings to the room that does the work."""
