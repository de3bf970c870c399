"""One module per source. Each declares SOURCE, Options, discover and read, and nothing else knows its format."""
