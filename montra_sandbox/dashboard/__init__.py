"""The dashboard: the state of the sandbox in the browser, rendered on the server, readable without JavaScript."""
