"""HTTP: from requests to handlers and back."""
