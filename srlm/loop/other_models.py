"""What other models say of AIFT(M_t), read from the run folder for the options of [pairs] that ask for it."""

from collections.abc import Mapping

from srlm.generate.pairs import consistency, rank_agreement
from srlm.records import Rollout
from srlm.run.folder import Run
from srlm.store import RowsById, read_rows, write_json


def past_answers(run: Run, t: int) -> Mapping[str, Rollout]:
    """An earlier model's answers to M_t's instructions, judged by M_t, by id (`pairs.anchor`); {} where it is off."""
    if run.config.pairs.anchor in ("off", f"M{t}"):
        return {}
    return RowsById(run.at(t).past_judged, Rollout)


def rank_agreements(run: Run, t: int) -> dict[str, float]:
    """Kendall's tau of M_t's and M_{t-1}'s rankings by instruction (`pairs.consistency`); {} where it is off.

    Written to consistency.json, with CREAM's C over all of them.
    """
    settings, paths = run.config.pairs, run.at(t)
    if settings.consistency == "off":
        return {}
    previous, rows = RowsById(paths.previous_judged, Rollout), read_rows(paths.rollouts, Rollout)
    found = {row.id: rank_agreement(row, previous[row.id], settings) for row in rows if row.id in previous}
    taus = {row_id: tau for row_id, tau in sorted(found.items()) if tau is not None}
    write_json(paths.consistency, {"consistency": consistency(list(taus.values())), "tau": taus})
    return taus
