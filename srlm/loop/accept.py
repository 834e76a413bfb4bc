"""Findings of the health gate that the user accepted with --accept-judge: run.json keeps them under `accepted`.

An entry counts for the pairs that it was made for, by their content, and for the figures that were seen then: an
interrupted training continues without asking again, and what is made again is not accepted unseen.
"""

import re
from collections.abc import Sequence
from typing import Any

from srlm.loop.finding import Finding
from srlm.run.folder import Run, now
from srlm.store import file_digest


def accepts(run: Run, t: int, findings: Sequence[Finding], now_accepted: bool) -> bool:
    """Whether these findings about M_t's present pairs were accepted before, or are now, which is recorded."""
    pairs = file_digest(run.at(t).pairs)
    entries = [entry for entry in run.record.accepted if entry["pairs"] == pairs]
    if any(all(_is_in(entry, finding) for finding in findings) for entry in entries):
        return True
    if now_accepted:
        run.record.accepted.append(
            {
                "time": now(),
                "model": f"M{t}",
                "pairs": pairs,
                "checks": sorted({finding.check for finding in findings}),
                "findings": [str(finding) for finding in findings],
                "figures": [_figure(finding) for finding in findings],
            }
        )
        run.save()
    return now_accepted


def _figure(finding: Finding) -> list[Any]:
    """What a finding is known by; the value to six digits, beyond which machines may differ."""
    return [finding.check, finding.about, None if finding.value is None else float(f"{finding.value:.6g}")]


def _is_in(entry: dict[str, Any], finding: Finding) -> bool:
    """Whether an entry accepts the finding. One of an earlier version holds no figures: its texts show them."""
    if "figures" in entry:
        return _figure(finding) in entry["figures"]
    shown = _shown(finding)
    texts = [text for text in entry["findings"] if finding.about in text]
    return finding.check in entry["checks"] and any(shown.search(text) for text in texts)


def _shown(finding: Finding) -> re.Pattern[str]:
    """The figure as texts of that version show it, as a share or with two decimals; nothing where there is none."""
    if finding.value is None:
        return re.compile("(?!)")
    forms = "|".join(re.escape(form) for form in (f"{finding.value:.1%}", f"{finding.value:.2f}"))
    return re.compile(rf"(?<![\d.])({forms})(?!\d)")
