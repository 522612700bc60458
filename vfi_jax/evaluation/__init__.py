"""Evaluation of models on benchmarks: scores, kept results, tables, paired comparison and speed."""
