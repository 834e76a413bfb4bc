"""Seed data: files -> checked rows (`files`, `forms`, `read`), what fits the context (`fit`), held out (`split`).

What people have instead becomes seed files in `oasst` and `ranked` (through `divide`), and in `from_scores`.
"""
