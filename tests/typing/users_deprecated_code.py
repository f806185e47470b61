"""Type checkers see deprecations: pyright, in strict mode, demands each of these comments. Never run."""

from __future__ import annotations

from montra_async.core.deprecation import deprecated


@deprecated("Since 0.4.0, removed in 0.6.0: use `new`.")
def old(a: int) -> int:
    return a


@deprecated("Since 0.4.0, removed in 0.6.0: use `New`.")
class Old:
    @property
    @deprecated("Since 0.4.0, removed in 0.6.0: use `title`.")
    def name(self) -> str:
        return ""

    @deprecated("Since 0.4.0, removed in 0.6.0: use `get`.")
    async def fetch(self) -> int:
        return 1


async def use() -> str:
    made = Old()  # pyright: ignore[reportDeprecated]
    number: int = old(1) + await made.fetch()  # pyright: ignore[reportDeprecated]
    return made.name * number  # pyright: ignore[reportDeprecated]
