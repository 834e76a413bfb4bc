"""Models before they are loaded: whether one can be used, and its chat template."""
