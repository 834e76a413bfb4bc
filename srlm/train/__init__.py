"""The train step: one job file in, one model folder out, in a process of its own (`python -m srlm.train JOB.json`)."""
