"""`Settling`: which usage the ends of a fleet's holds count, and which is counted without them."""

from __future__ import annotations


class Settling:
    """Holds of one customer and meter that used the same amount, and whose usage is being recorded."""

    __slots__ = ("late", "pending", "withheld")

    def __init__(self) -> None:
        self.pending: int = 0
        """Number of holds."""
        self.withheld: int = 0
        """Number of events that were recorded and not counted: the end of a hold counts them. Below 0: number of those
        that the ends of holds have counted before they were told of."""
        self.late: int = 0
        """Number of events that a reporter may still tell of, and whose holds have ended."""

    def surplus(self) -> int:
        """Number of events to count now, or below 0 to take off."""
        if self.withheld > self.pending:
            return self.withheld - max(0, self.pending)
        return min(0, self.withheld + self.late)
