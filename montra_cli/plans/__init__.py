"""Plans as code: a TOML file of pricing models, and what must change to make the service like it."""
