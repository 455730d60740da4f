"""Memory snapshots as an HTML page that shows any moment of one recording, or of several side by side."""
