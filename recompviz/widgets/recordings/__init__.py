"""Memory snapshots as an HTML page: any moment, several recordings over each other and side by side."""
