"""The pages that people see: hosted checkouts, customer portal, OAuth consent, front page."""
