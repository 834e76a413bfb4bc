"""Head to head: two models' answers to the same prompts before one judge."""
