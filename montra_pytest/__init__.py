"""The pytest plugin: a sandbox, and clients that are connected to it, as fixtures. pytest finds it by itself."""
