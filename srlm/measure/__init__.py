"""Figures: what is computed from rows, head to head, and tasks of lm-evaluation-harness."""
