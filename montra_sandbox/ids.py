"""Ids of resources: random, or reproducible from a seed."""

from __future__ import annotations

import random
import secrets
from contextvars import ContextVar
from typing import Any, TypeAlias

IdState: TypeAlias = tuple[int, tuple[Any, ...]] | None
"""The seed and the state of its random generator; None for random ids."""

_BYTES = 10


class IdGenerator:
    """Makes the ids of one sandbox. With a seed, the same requests in the same order get the same ids.

    Keys, tokens, codes and secrets are never made from it.

    Args:
        seed: the seed; None for random ids.
    """

    def __init__(self, seed: int | None = None) -> None:
        self.seed: int | None = seed
        self.reset()

    def reset(self) -> None:
        """Begin with the first id of the seed again."""
        self._random = None if self.seed is None else random.Random(self.seed)  # noqa: S311 - reproducible on purpose

    def make(self, prefix: str) -> str:
        """An id such as `cust_5f0c...` with 80 bits.

        Args:
            prefix: the part before the underscore.
        """
        if self._random is None:
            return f"{prefix}_{secrets.token_hex(_BYTES)}"
        return f"{prefix}_{self._random.randbytes(_BYTES).hex()}"

    def state(self) -> IdState:
        """The state, for `restore`."""
        return None if self.seed is None or self._random is None else (self.seed, self._random.getstate())

    def restore(self, state: IdState) -> None:
        """Go back to a state.

        Args:
            state: what `state` returned.
        """
        self.seed = None if state is None else state[0]
        self.reset()
        if state is not None and self._random is not None:
            self._random.setstate(state[1])


CURRENT_IDS: ContextVar[IdGenerator | None] = ContextVar("montra_sandbox_ids", default=None)
"""The generator of the sandbox that runs in this context. Each sandbox has a thread, and so a context, of its own."""


def new_id(prefix: str) -> str:
    """An id such as `cust_5f0c...` of the sandbox that runs in this context.

    Args:
        prefix: the part before the underscore.
    """
    generator = CURRENT_IDS.get()
    return f"{prefix}_{secrets.token_hex(_BYTES)}" if generator is None else generator.make(prefix)
