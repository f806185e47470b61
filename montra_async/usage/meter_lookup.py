"""Which meters add amounts: only the events of those may be added up before they are sent."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ..core.errors import ConfigError, MontraError
from ..resources.meters import Meter
from .recorder import Recorder
from .settings import ReporterSettings

log: logging.Logger = logging.getLogger("montra")


class Service(Protocol):
    """What is used of a client."""

    async def report_usage(
        self,
        customer_id: str,
        meter_slug: str,
        *,
        amount: Any = 1,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> bool:
        """`Montra.report_usage`.

        Args:
            customer_id: `cust_...`.
            meter_slug: slug of the meter.
            amount: number of units.
            metadata: a JSON object.
            idempotency_key: the event's key.
        """
        ...

    async def list_meters(self) -> list[Meter]:
        """`Montra.list_meters`."""
        ...


class MeterLookup:
    """Tells a recorder whose events it may have added up, as soon as that is known.

    Args:
        service: the client.
        recorder: marks events.
        settings: of the user.
    """

    def __init__(self, service: Service, recorder: Recorder, settings: ReporterSettings) -> None:
        self._service = service
        self._recorder = recorder
        self._wanted = settings.coalesce
        self._known = not (settings.coalesce and settings.verify_meters)
        self._lookup_is_wanted = not self._known
        self._looked_up = False
        if self._known and not isinstance(self._wanted, bool):
            recorder.coalesce(self._wanted)
        self.renew()

    def renew(self) -> None:
        """Forget a lookup that is under way: in a forked child, it is the parent's."""
        self._looking_up = threading.Lock()
        if self._lookup_is_wanted and not self._looked_up:
            self._known = False

    def look_up(self) -> None:
        """Look the meters up in a thread, unless they are known. A failure is logged."""
        if self._known:
            return
        self._known = True
        with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
            threading.Thread(target=self._look_up, name="montra-usage-meters", daemon=True).start()

    def _look_up(self) -> None:
        if problem := self.verify():
            log.warning("usage is not coalesced as it should be: %s", problem)

    def verify(self) -> MontraError | None:
        """Look the meters up, if that is wanted. Blocks.

        Returns:
            Why not all meters that should be coalesced are.
        """
        if not self._lookup_is_wanted:
            return None
        wanted = self._wanted
        with self._looking_up:
            try:
                meters = asyncio.run(self._service.list_meters())
            except MontraError as error:
                self._known = False
                return error
            except Exception as error:
                self._known = False
                log.exception("looking up meters failed unexpectedly")
                return MontraError(f"looking up meters failed with {type(error).__name__}")
            self._known = self._looked_up = True
        sums = sum_meters(meters)
        self._recorder.coalesce(sums if isinstance(wanted, bool) else sums & set(wanted))
        if isinstance(wanted, bool) or not (wrong := sorted(set(wanted) - sums)):
            return None
        return ConfigError(f"coalesce: {', '.join(wrong)}: no such meter, or not one that adds amounts (`sum`)")


def sum_meters(meters: Sequence[Meter]) -> set[str]:
    """The slugs of meters that add amounts, in every pricing model that has a meter with this slug.

    Args:
        meters: all meters of the merchant.
    """
    others = {meter.slug for meter in meters if meter.aggregation != "sum"}
    return {meter.slug for meter in meters} - others
