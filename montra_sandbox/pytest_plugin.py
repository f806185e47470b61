"""The pytest plugin of the sandbox: fixtures that are there wherever the SDK is installed."""
