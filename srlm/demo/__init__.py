"""The embedded default: a small closed world, a tiny base model for it, its seed data and its grader."""
