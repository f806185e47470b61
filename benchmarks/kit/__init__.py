"""What all benchmarks share: how to measure side by side, a server that favours nobody, tables, JSON and charts."""
