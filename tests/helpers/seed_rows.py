"""Seed rows in which `srlm seed check` finds nothing, and the check itself."""

import json
from pathlib import Path
from typing import Any

from srlm.seed.check import CheckReport, check_files
from srlm.seed.kinds import seed_files

TOPICS = ["rain", "bread", "chess", "bees", "steel", "jazz", "maps", "tea", "glass", "wool", "ships", "salt"]
PROMPTS = {
    "rain": "Why does rain fall more often in the mountains?",
    "bread": "How long should I bake bread with rye flour?",
    "chess": "Name three openings that suit beginners at chess.",
    "bees": "Write a short poem about bees in winter",
    "steel": "Which alloys make steel resist rust?",
    "jazz": "Explain swing rhythm to somebody new to jazz",
    "maps": "What does the scale on old maps mean?",
    "tea": "Compare green tea with black tea in one table.",
    "glass": "List uses of recycled glass",
    "wool": "Can I wash a wool coat at home?",
    "ships": "Who invented the screw propeller for ships?",
    "salt": "Summarise how salt was traded in Roman times",
}


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ift_rows() -> list[dict[str, Any]]:
    return [{"prompt": PROMPTS[topic], "response": f"All that there is to say about {topic}."} for topic in TOPICS]


def check(*paths: Path, against: list[Path] | None = None, model: str | None = None) -> CheckReport:
    return check_files(seed_files(list(paths)), against or [], model)
