"""What makes the sandbox scriptable: triggers, scenarios, demo data and seed files, all made of real calls."""
