"""srlm: self-rewarding language models, the whole loop from one command line."""

__version__ = "0.1.0"
