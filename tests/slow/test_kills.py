"""The real loop, killed again and again at random moments of each stage: what is left in the end."""

import random
import subprocess
from pathlib import Path

import pytest

from tests.helpers.kills import STAGES, check, iterate_command, kill_in, make_run, status

KILLS = 20

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]


def test_a_run_killed_again_and_again_is_the_run_that_never_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The kills are spread over the stages; a stage that is finished passes its share on to the next one."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for root in (whole, killed):
        make_run(root)
    subprocess.run(iterate_command(whole), check=True)
    choose = random.Random(1)
    kills: list[str] = []
    while len(kills) < KILLS:
        share = len(kills) * len(STAGES) // KILLS
        owed = [stage for stage in list(STAGES)[share:] if status(killed, stage) != "done"]
        if not owed:
            break
        if said := kill_in(killed, owed[0], choose):
            kills.append(said)
            with capsys.disabled():
                print(f"\nkill {len(kills)}: {said}", end="", flush=True)
    subprocess.run(iterate_command(killed), check=True)
    found = check(killed, whole)
    with capsys.disabled():
        print("", f"{len(kills)} kills", *found, sep="\n")
    assert len(kills) > len(STAGES)
