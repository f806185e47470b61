"""Demo data: an invented company with a year of customers, usage, invoices and payments."""

from .furnish import MAX_CUSTOMERS, MAX_MONTHS, furnish

__all__ = ["MAX_CUSTOMERS", "MAX_MONTHS", "furnish"]
