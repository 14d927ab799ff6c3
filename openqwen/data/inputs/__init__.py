"""What comes in: files and object stores, their rows and records, named sources."""
