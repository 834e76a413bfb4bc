"""A reason not to trust a model: a finding of the health gate (`gate`) or of the promotion gate (`promote`)."""

from dataclasses import dataclass

from srlm.settings import GateCheck, PromoteCheck


@dataclass(frozen=True)
class Finding:
    """One figure beyond its limit, or one that nobody knows: which check, what was seen, the setting with the limit.

    `value` is the figure itself, `about` what else identifies it (a canary's name, the figure it fell from). These
    identify a finding (see `accept`), so its wording may change.
    """

    check: GateCheck | PromoteCheck
    saw: str
    limit: str
    means: str = ""
    value: float | None = None
    about: str = ""
    known: bool = True
    waived: bool = False

    def __str__(self) -> str:
        seen = self.saw if self.known else f"{self.saw}: not known"
        return (
            f"{seen} ({self.limit})" + (f": {self.means}" if self.means else "") + (" [waived]" if self.waived else "")
        )
