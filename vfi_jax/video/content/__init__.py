"""Content of clips: cuts, held frames, fields, bars, overlays, and what time and light do between the frames."""
