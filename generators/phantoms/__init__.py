"""One module per source: writes a small, faithful, synthetic copy of it, quirks included."""
