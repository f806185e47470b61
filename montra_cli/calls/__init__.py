"""Every call of the SDK as a command, made from a generated catalog."""
