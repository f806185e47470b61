from __future__ import annotations

import asyncio

import attrs
from hypothesis import given, strategies as st

from montra_async.core.http.gate import Gate


@attrs.define
class House:
    """A gate with people: who is inside, who waits (in the order of coming)."""

    size: int
    gate: Gate
    inside: int = 0
    waiting: list[asyncio.Task[None]] = attrs.field(factory=list)

    async def come(self) -> None:
        if self.gate.enter():
            assert all(task.done() for task in self.waiting), "somebody who waits was passed over"
            self.inside += 1
        else:
            self.waiting.append(asyncio.create_task(self._wait()))
            await asyncio.sleep(0)

    async def _wait(self) -> None:
        await self.gate.wait()
        self.inside += 1

    async def give_up(self) -> None:
        if self.waiting:
            self.waiting[len(self.waiting) // 2].cancel()

    async def leave(self) -> None:
        if self.inside:
            self.inside -= 1
            self.gate.leave()

    async def let_others_run(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
        self.waiting = [task for task in self.waiting if not task.cancelled()]
        while self.waiting and self.waiting[0].done():
            self.waiting.pop(0)
        assert not any(task.done() for task in self.waiting), "somebody was let in before who came earlier"
        assert self.inside == self.size or not self.waiting

    async def live(self, days: list[str]) -> None:
        for day in days:
            await getattr(self, day)()
            assert self.inside <= self.size

    async def empty(self) -> None:
        while self.waiting or self.inside:
            await self.leave()
            await self.let_others_run()


DAYS = st.lists(st.sampled_from(["come", "give_up", "leave", "let_others_run"]), max_size=60)


@given(size=st.integers(1, 4), days=DAYS)
def test_never_too_many_and_nobody_is_forgotten(size: int, days: list[str]) -> None:
    async def main() -> None:
        house = House(size, Gate(size))
        await asyncio.wait_for(house.live(days), 5)
        await asyncio.wait_for(house.empty(), 5)
        for _ in range(size + 1):
            await house.come()
        await house.let_others_run()
        assert len(house.waiting) == 1
        await asyncio.wait_for(house.empty(), 5)
        assert all(house.gate.enter() for _ in range(size)), "nobody waits, and the door is shut"

    asyncio.run(main())
