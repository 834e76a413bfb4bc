"""LLM-as-a-Judge: rubrics, the modes, how replies are read, and how far a judge agrees with people."""
