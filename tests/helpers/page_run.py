"""A run folder for the tests of the page and its server: rows to page through, and text that attacks the page."""

from pathlib import Path

from srlm.records import Candidate, Judgement, PreferencePair, Rollout
from srlm.run.folder import Run
from srlm.store import write_rows
from tests.helpers.run_folder import finished_run

ROWS = 60  # more than two pages of 25
HACK = "window.hacked=1"
ATTACKS = [
    f"<script>{HACK}</script>",
    f"</script><script>{HACK}</script>",
    f"</ScRiPt ><script>{HACK}</script>",
    f"<!--<script>{HACK}//",
    f"--><script>{HACK}</script>",
    f"]]><script>{HACK}</script>",
    f"<img src=x onerror={HACK}>",
    f"<img src=http://127.0.0.1:9/x.png onload={HACK}>",
    f"<svg onload={HACK}>",
    f"<svg><script>{HACK}</script></svg>",
    f"<svg><animate onbegin={HACK} attributeName=x dur=1s>",
    f"<body onload={HACK}>",
    f"<iframe src=javascript:parent.{HACK}></iframe>",
    f"<iframe srcdoc='<script>parent.{HACK}</script>'></iframe>",
    f"<object data='data:text/html,<script>parent.{HACK}</script>'></object>",
    f"<embed src=javascript:{HACK}>",
    f"<a href=javascript:{HACK} autofocus onfocus={HACK}>x</a>",
    f"<input autofocus onfocus={HACK}>",
    f"<details open ontoggle={HACK}><summary>x</summary></details>",
    f"<video><source onerror={HACK}></video>",
    f"<math><mtext><style><img src onerror={HACK}></style></mtext></math>",
    f"<style>@import 'javascript:{HACK}'; * {{ background: url(http://127.0.0.1:9/) }}</style>",
    f"<link rel=stylesheet href='data:text/css,*{{}}' onload={HACK}>",
    f"<meta http-equiv=refresh content='0;url=javascript:{HACK}'>",
    f"<base href=http://127.0.0.1:9/><script src=x.js onerror={HACK}></script>",
    f"<form action=javascript:{HACK}><button autofocus>x</button></form>",
    f'"><script>{HACK}</script>',
    f"';{HACK};//",
    f"`${{{HACK}}}`",
    f"\u2028{HACK}\u2029\u202e<script>{HACK}</script>\x00\x1b]0;x\x07",
    f"\\u003cscript\\u003e{HACK}\\u003c/script\\u003e&lt;script&gt;{HACK}&lt;/script&gt;",
    f"@@SCRIPT@@ @@DATA@@ <script>{HACK}</script>",
]
HOSTILE_ID = f"row-<img src=x onerror={HACK}>"


def page_run(root: Path) -> Run:
    """A finished run whose M1 made ROWS rollouts; the first ones carry the attacks in all their texts."""
    run = finished_run(root)
    rows = [_rollout(number) for number in range(ROWS)]
    pairs = [_pair(row) for number, row in enumerate(rows) if number % 3 == 0]
    write_rows(run.at(1).rollouts, rows)
    write_rows(run.at(1).pairs, pairs)
    made = {pair.id for pair in pairs}
    write_rows(run.at(1).dropped, [{"id": row.id, "reason": "tie"} for row in rows if row.id not in made])
    return run


def _rollout(number: int) -> Rollout:
    attack = ATTACKS[number] if number < len(ATTACKS) else ""
    key = HOSTILE_ID if number == 0 else f"M1-{number:06d}"
    asked = [{"role": "user", "content": f"Question {number}? {attack}"}]
    best, worst = 1.0 + number % 5, (number % 5) / 2
    answers = [
        Candidate(text=f"{side} of {number} {attack}", finish="stop", tokens=9, judgements=_judgements(score, attack))
        for side, score in (("Worst", worst), ("Middle", (best + worst) / 2), ("Best", best))
    ]
    return Rollout(id=key, messages=asked, candidates=answers)


def _judgements(score: float, attack: str) -> list[Judgement]:
    said = f"Because. {attack}\nScore: {score:g}"
    return [
        Judgement(text=said, score=score, finish="stop", tokens=7),
        Judgement(text=attack, score=None, finish="stop", tokens=3),
    ]


def _pair(row: Rollout) -> PreferencePair:
    worst, _, best = row.candidates
    assert best.score is not None
    assert worst.score is not None
    return PreferencePair(
        id=row.id,
        prompt=row.messages,
        chosen=[{"role": "assistant", "content": best.text}],
        rejected=[{"role": "assistant", "content": worst.text}],
        chosen_score=best.score,
        rejected_score=worst.score,
    )
