"""What a judged file looks like as a whole: a table on stderr."""

import statistics
from collections import Counter
from typing import Any

from srlm.console import err, say
from srlm.judge.agreement import both_orders, both_phrasings, phrasing_agreement
from srlm.judge.parse import Scale, read_score
from srlm.judge_file.columns import Item
from srlm.judge_file.job import Judged
from srlm.judge_file.people import People
from srlm.records import Judgement
from srlm.seed.files import RawRow
from srlm.settings import JudgeSettings

WHY = {
    "stop": "no score in the reply",
    "length": "cut off by judge.max_tokens",
    "overlong": "prompt too long",
    "unfinished": "ended in the midst of its thoughts",
}
OFF_SCALE = "a number that is no score on this scale"
AGREEMENT = (
    ("pairwise accuracy", "pairwise_accuracy"),
    ("the same, by the longer response alone", "length_accuracy"),
    ("pairwise accuracy at equal length", "equal_length_accuracy"),
    ("pairs that the judge ties", "tied_pairs"),
    ("exact match of the order", "exact_match"),
    ("ranked best by people, among those with the top score", "five_best"),
    ("Spearman", "spearman"),
    ("Kendall", "kendall"),
)


class Summary:
    """Counts while rows go by; nothing of them is kept, but for what agreement with people needs."""

    def __init__(self, settings: JudgeSettings, scale: Scale, people: People) -> None:
        self._settings, self._scale, self._people = settings, scale, people
        self.rows = self.responses = self.scored = self.judgements = self.spreads = 0
        self.total = self.spread = 0.0
        self.histogram: Counter[float] = Counter()
        self.phrased: list[tuple[float, float]] = []
        self.fractions = self.up_to_one = self.first = 0
        self.missing: Counter[str] = Counter()
        self.flags: Counter[str] = Counter()

    def add(self, row: RawRow, item: Item, judged: Judged) -> None:
        """Count one row."""
        self.rows += 1
        for judgements in judged.judgements:
            self.responses += 1
            self.judgements += len(judgements)
            valid = [found.score for found in judgements if found.score is not None]
            self.missing.update(self._why(found) for found in judgements if found.score is None)
            self.first += sum(said[0] == said[1] + 1 for found in judgements if (said := both_orders(found)))
            self.fractions += sum(0 < score < 1 for score in valid)
            self.up_to_one += sum(0 <= score <= 1 for score in valid)
            self.flags.update(flag for found in judgements for flag in found.flags)
            self.histogram.update(round(2 * score) / 2 if self._settings.fine else round(score, 2) for score in valid)
            self.phrased.extend(both_phrasings(judgements))
            if valid:
                self.scored += 1
                self.total += statistics.fmean(valid)
            if len(valid) > 1:
                self.spreads += 1
                self.spread += statistics.stdev(valid)
        self._people.add(row, item, judged)

    def _why(self, found: Judgement) -> str:
        """Why a judgement has no score."""
        if found.finish == "stop" and found.swapped is None and read_score(found.text, self._scale).at is not None:
            return OFF_SCALE
        return WHY.get(found.finish, found.finish)

    def findings(self) -> list[str]:
        """What the user should know before using these scores."""
        known = self.judgements - self.missing.total()
        low, high = self._scale
        found = []
        if self.missing[OFF_SCALE] > known:
            found.append(f"most numbers that the judge gives are no scores from {low} to {high}: see its judgements")
        sampled = not self._settings.fine and not self._settings.compares
        if sampled and high > 1 and 2 * self.fractions > known == self.up_to_one:
            found.append(
                f"all scores are at most 1 and most are fractions: the judge seems to use a scale from 0 to 1, "
                f"but the rubric's is {low} to {high}"
            )
        if self._settings.compares and 2 * self.first > known:
            found.append(f"{_of(self.first, known)} of comparisons prefer whichever response comes first")
        return found

    def lines(self) -> list[tuple[str, str]]:
        """(what, figure) of everything that is defined."""
        known = self.judgements - self.missing.total()
        low, high = self._scale
        lines = [("rows", f"{self.rows}"), ("responses with a score", f"{self.scored} of {self.responses}")]
        lines += [("judgements with a score", _of(known, self.judgements))]
        lines += [(f"  {why}", f"{count}") for why, count in self.missing.most_common()]
        if self.scored:
            lines.append((f"mean score ({low} to {high})", f"{self.total / self.scored:.3f}"))
        if self.spreads:
            lines.append(("mean spread (standard deviation)", f"{self.spread / self.spreads:.3f}"))
        shown = ", ".join(f"{score:g}: {count}" for score, count in sorted(self.histogram.items()))
        lines.append(("judgements by score", shown or "none"))
        if self._settings.compares and known:
            lines.append(("same verdict in both orders", _of(known - self.flags["order"], known)))
            lines.append(("the first one preferred in both orders", _of(self.first, known)))
        if (agreed := phrasing_agreement(self.phrased)) is not None:
            lines.append((f"agreement of two phrasings, of {len(self.phrased)} (Spearman)", f"{agreed:.3f}"))
        flags = {flag: count for flag, count in self.flags.items() if flag != "order"}
        lines += [(f"flagged: {flag}", f"{count}") for flag, count in sorted(flags.items())]
        return [*lines, *self._agreement()]

    def _agreement(self) -> list[tuple[str, str]]:
        found = self._people.agreement()
        if not found:
            return []
        lines = [
            ("Agreement with people, over", str(found["over"])),
            ("  pairs that people tell apart, with scores", _of(found["pairs"], found["people_pairs"])),
        ]
        for label, key in AGREEMENT:
            value: Any = found[key]
            if value is None:
                continue
            text = f"{value:.3f}"
            if key == "pairwise_accuracy" and found["pairwise_interval"]:
                text += " (95% interval {:.3f} to {:.3f})".format(*found["pairwise_interval"])
            lines.append((f"  {label}", text))
        return lines

    def show(self) -> None:
        """Print the table on stderr."""
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE, show_header=False, pad_edge=False)
        table.add_column()
        table.add_column()
        for label, text in self.lines():
            table.add_row(label, text)
        err().print(table)
        for finding in self.findings():
            say(f"Warning: {finding}")


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "0"
