"""Generates facades from small sources, and imports them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
if str(ROOT / "tools") not in sys.path:
    sys.path.append(str(ROOT / "tools"))

from generate_sync.annotations import Reader as Reader  # noqa: E402
from generate_sync.formatting import formatted  # noqa: E402
from generate_sync.source import Source as Source  # noqa: E402
from generate_sync.writing import Facade as Facade, FacadeWriter, lazy as lazy, public as public  # noqa: E402

HEAD = "from __future__ import annotations\n"
HELPERS = {
    "portal": "from montra_sync.portal import in_thread, iterate, iterate_as, run, unwrap\n",
    "context_managers": "from montra_sync.context_managers import manage\n",
}


class Refused(Exception):
    """The generator refused the source."""


class Sample:
    """An asynchronous package in a directory, and the facade that is generated from it.

    Args:
        root: an empty directory.
        made: classes that users make.
        given: classes whose objects users get.
        files: text of further modules of the package, by name.
    """

    def __init__(
        self,
        root: Path,
        text: str,
        *,
        made: tuple[str, ...] = ("Client",),
        given: tuple[str, ...] = (),
        descriptions: dict[str, str] | None = None,
        **files: str,
    ) -> None:
        self.root = root
        self.name = f"sample_{root.name.replace('-', '_')}_{id(self)}"
        self.package = root / self.name
        self.package.mkdir()
        for name, content in {"__init__": "", "client": text, **files}.items():
            (self.package / f"{name}.py").write_text(HEAD + dedent(content), encoding="utf-8")
        client = f"{self.name}.client"
        self.facade = Facade(
            title="A facade.",
            package=self.name,
            made=dict.fromkeys(made, client),
            given=dict.fromkeys(given, client),
            descriptions=descriptions or {},
        )

    def generate(self, exports: list[str] | None = None, others: Iterable[Facade] = ()) -> str:
        """The text of the generated file.

        Args:
            exports: public names of the package.
            others: facades of other files.

        Raises:
            Refused: with the message that the generator prints.
        """
        writer = FacadeWriter(Source(self.root), self.facade, others)
        text = writer.file(exports)
        if writer.refusals:
            messages = "\n".join(dict.fromkeys(str(one) for one in writer.refusals))
            raise Refused(messages.replace(f"{self.name}/", ""))
        return formatted(text, self.package / "facade.py", self.root)

    def load(self, exports: list[str] | None = None) -> ModuleType:
        """The generated module, imported. It stands in the package itself."""
        for name, text in HELPERS.items():
            (self.package / f"{name}.py").write_text(text, encoding="utf-8")
        (self.package / "facade.py").write_text(self.generate(exports), encoding="utf-8")
        sys.path.insert(0, str(self.root))
        try:
            importlib.invalidate_caches()
            return importlib.import_module(f"{self.name}.facade")
        finally:
            sys.path.remove(str(self.root))


def load_sample(root: Path, text: str, **settings: Any) -> Any:
    """The facade of the class `Client` of a source, and of `Charge` where the source has one, imported."""
    given = ("Charge",) if "class Charge" in text else ()
    return Sample(root, text, given=given, **settings).load()


CHARGE = '''
class Charge:
    """A charge."""

    amount: int

    def __init__(self, amount: int) -> None:
        self.amount = amount

    async def debit(self) -> int:
        return self.amount
'''


def client_source(body: str, *, head: str = "", charge: bool = False) -> str:
    """The source of a client with these members."""
    lines = "".join(f"    {line}\n" if line else "\n" for line in body.strip("\n").split("\n"))
    return (
        f"{head}\n{CHARGE if charge else ''}\nclass Client:\n    def __init__(self) -> None:\n        pass\n\n{lines}"
    )
