"""What both services stand on: HTTP, retries, errors, serde. Knows no endpoint."""
