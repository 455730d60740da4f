"""The state at the peak: each live block, who needs it, and how it is described."""
