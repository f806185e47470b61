import os
import tempfile

folder = tempfile.TemporaryDirectory()
os.environ["SESSION_SECRET"] = "a secret of the tests, 32 characters or more"
os.environ["EVENTS_DB"], os.environ["BUYERS_FILE"] = f"{folder.name}/events.db", f"{folder.name}/buyers.txt"
