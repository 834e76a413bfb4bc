"""`srlm judge`: scores for any file. The parent (command.py) starts one child (__main__.py), which holds the engine."""
