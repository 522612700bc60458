"""Models on benchmarks: scores, tables, comparison, speed."""
