"""Where the files that ship with srlm lie: beside the source in a checkout, inside the package in a wheel."""

from pathlib import Path

PACKAGE = Path(__file__).parent
RECIPES = PACKAGE / "recipes"
# A wheel carries prompts/ as srlm/prompts_default (see pyproject.toml); a checkout has it at the top, to be edited.
PROMPTS = PACKAGE / "prompts_default"
if not PROMPTS.is_dir():
    PROMPTS = PACKAGE.parent / "prompts"
DEMO = PACKAGE / "demo"
