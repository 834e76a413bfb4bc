"""Seed data: files -> checked rows (`files`, `read`), what fits the context (`fit`), held-out splits (`split`)."""
