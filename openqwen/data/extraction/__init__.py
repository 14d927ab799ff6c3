"""From bytes to clean text, a page that hangs or bursts losing only itself."""
