"""`srlm eval --tasks`: lm-evaluation-harness on the models of a run, to see what their training costs elsewhere."""
