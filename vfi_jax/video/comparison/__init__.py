"""Two videos beside each other, in a page for a browser."""
