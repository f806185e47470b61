"""Room for the synchronous facade, which will be generated from `montra_async`."""
