"""The resources of the Montra API: one file each, its models and its calls side by side."""
