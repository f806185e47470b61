"""The examples for web frameworks, each under its real server: buy, receive the webhook, watch access appear."""
