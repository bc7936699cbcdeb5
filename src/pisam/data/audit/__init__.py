"""Before training: every file looked at once, and smaller copies."""
