"""What newer Pythons have and Python 3.10 lacks."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from typing_extensions import Self as Self
elif sys.version_info >= (3, 11):
    from typing import Self
else:
    Self = TypeVar("Self")
    """Stands for `typing.Self` when annotations are resolved; typing_extensions is no dependency."""
