"""`montra usage import`: a file of usage, counted once, whatever interrupts the import."""
