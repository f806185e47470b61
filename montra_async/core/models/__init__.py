"""JSON and models: parse, convert, build. Knows no HTTP."""
