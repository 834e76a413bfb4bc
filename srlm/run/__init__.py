"""The run folder: its files, its record, which stage is owed, and how it is made."""
