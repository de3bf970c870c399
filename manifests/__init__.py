"""One TOML file per source: what is known about it before it is opened."""
