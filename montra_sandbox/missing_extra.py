"""What to install when the packages of the extra `montra[sandbox]` are not there."""

from __future__ import annotations


def missing_extra(error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise instead of one of an import of this package.

    Args:
        error: what the import raised.
    """
    if error.name is None or error.name.partition(".")[0] == __package__:
        return error  # a module of our own: nothing that an installation brings
    return ModuleNotFoundError(
        f"the sandbox needs {error.name}: pip install 'montra[sandbox]', or in a clone of the SDK: "
        "pip install -e '.[sandbox]'",
        name=error.name,
    )
