"""Everything beside the picture: sound, subtitles, chapters, covers, tags, metadata."""
