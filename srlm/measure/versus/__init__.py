"""Head to head: one judge compares two models' answers to the same prompts."""
