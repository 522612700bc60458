"""Pictures for people: flow colors, error maps, sheets, curves of runs, strips of samples."""
