"""Writing training sets: records, packed files, synthetic scenes, flow labels."""
