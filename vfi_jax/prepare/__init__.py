"""Writing training sets, once: records, packed files, synthetic scenes, flow labels."""
