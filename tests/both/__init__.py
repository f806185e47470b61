"""One body for both: these tests run with the async client and with the synchronous facade."""
