"""From requests to handlers and back."""
