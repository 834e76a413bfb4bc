"""How much CPU time (user + system, of the process and its children) the quick commands take, on a warm machine.

    python benchmarks/startup.py [--times 7] [--run runs/demo]

Prints the median and the extremes for `srlm --help` and `srlm inspect`. The aim is below 0.5 s.
CPU time, not the clock on the wall: other work on the machine does not count.
"""

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

SRLM = [sys.executable, "-c", "from srlm.cli import main; main()"]


def cpu_seconds(command: list[str]) -> float:
    """CPU seconds of one call; raises CalledProcessError when it fails."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=7)
    parser.add_argument(
        "--run", type=Path, help="a run folder for `srlm inspect`; without it only `--help` is measured"
    )
    options = parser.parse_args()
    commands = [["--help"], *([["inspect", str(options.run)]] if options.run else [])]
    print(f"{'command':<32}{'median':>8}{'least':>8}{'most':>8}  (CPU seconds of {options.times} calls)")
    for arguments in commands:
        cpu_seconds([*SRLM, *arguments])  # warms the file cache
        found = [cpu_seconds([*SRLM, *arguments]) for _ in range(options.times)]
        name = "srlm " + " ".join(arguments)
        print(f"{name:<32}{statistics.median(found):>8.2f}{min(found):>8.2f}{max(found):>8.2f}")


if __name__ == "__main__":
    main()
