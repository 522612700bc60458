"""Images for people to look at: flow colors, labeled sheets, error maps, learning curves, strips of samples."""
