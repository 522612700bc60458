"""What accompanies the picture: sound, subtitles, chapters, covers, tags, metadata."""
