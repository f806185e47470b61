"""The OpenAPI document, and what the server asks of it: which operation a request is, and whether it is valid."""

from .document import Contract, Operation, read_contract
from .validation import describe

__all__ = ["Contract", "Operation", "describe", "read_contract"]
