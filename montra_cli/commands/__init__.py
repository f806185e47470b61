"""The commands that are written by hand. `app` of `<name>_command` is the command `<name>`."""
