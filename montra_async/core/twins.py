"""Which of the two packages a class is of: their classes have the same names, and must not be mixed."""

from __future__ import annotations

from typing import Literal, TypeAlias

Twin: TypeAlias = Literal["montra_async", "montra_sync"]


def is_of(package: Twin, thing: object) -> bool:
    """Whether an object's class, or a class that it inherits from, is of a package.

    Args:
        package: name of the package.
        thing: the object.
    """
    return any(cls.__module__.partition(".")[0] == package for cls in type(thing).__mro__)


def name_of_class(thing: object) -> str:
    """The name of an object's class as it is imported: of our own classes with the public module, else with its own.

    Args:
        thing: the object.
    """
    return public_name(type(thing))


def own_name(package: Twin, thing: object) -> str:
    """The public name of the class of ours that an object is of, also when a user's class inherits from it.

    Args:
        package: name of the package.
        thing: an object of which `is_of(package, thing)` is true.
    """
    return next(public_name(cls) for cls in type(thing).__mro__ if cls.__module__.partition(".")[0] == package)


def public_name(cls: type) -> str:
    """The name of a class as it is imported: of our own classes with the public module, else with its own.

    Args:
        cls: the class.
    """
    module, name = cls.__module__, cls.__qualname__
    parts = module.split(".")
    if parts[0] in ("montra_async", "montra_sync"):
        # Classes are exported by the package, or by its subpackage: `montra_async.usage`, not `.usage.reporter`.
        module = parts[0] if parts[1:] in ([], ["client"]) else ".".join(parts[:2])
    return name if module == "builtins" else f"{module}.{name}"
