"""The OpenAPI documents of both services: which operation a request belongs to, and whether it is valid."""

from .document import Contract, ContractOperation, read_contract
from .schema_validation import describe

__all__ = ["Contract", "ContractOperation", "describe", "read_contract"]
