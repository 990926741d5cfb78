"""What a check says: a number, what was allowed, and a sentence."""

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Row:
    """One thing that was checked.

    Attributes:
        check: What, such as ``log-det, forward``.
        measured: The number found.
        allowed: The largest that passes; ``inf`` where the number is only told.
        passed: Whether it does. NaN never does.
        detail: What the number is, and if it failed, what broke.
        where: Of which weights and inputs.
    """

    check: str
    measured: float
    allowed: float
    passed: bool
    detail: str
    where: str = ""

    @classmethod
    def at_most(cls, check: str, measured: float, allowed: float, detail: str) -> "Row":
        """Passed if ``measured ≤ allowed``."""
        return cls(check, measured, allowed, measured <= allowed, detail)

    def at(self, where: str, place: str = "") -> "Row":
        """The same, of these weights and inputs, and of a part of the network if it is known."""
        return replace(self, where=where, detail=self.detail + place)

    @property
    def sentence(self) -> str:
        """What was checked, where, and what was found."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.check}{place}: {self.detail}"
