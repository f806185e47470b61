"""One HTTP request: connections, attempts, time-outs, streams. Knows aiohttp; knows no endpoint."""
