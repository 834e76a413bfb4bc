"""What speaks against a model: a finding of the health gate (`gate`) or of the promotion gate (`promote`)."""

from dataclasses import dataclass

from srlm.settings import GateCheck, PromoteCheck


@dataclass(frozen=True)
class Finding:
    """One figure beyond its limit, or one that nobody knows: which check, what was seen, the setting with the limit.

    `value` is the figure itself, `about` what else makes it this one (a canary's name, the figure it fell from). By
    these a finding is known again (see `accept`), so that its words may change.
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
        text = f"{self.saw} ({self.limit})" + (f": {self.means}" if self.means else "")
        return text + ("" if self.known else ", not known") + (" [waived]" if self.waived else "")
