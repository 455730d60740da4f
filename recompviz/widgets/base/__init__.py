"""Parts that all widgets share: the packaged JavaScript and CSS, the colours, and jobs that run in the background."""
