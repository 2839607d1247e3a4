"""The settings tree, config.toml, and where files lie."""
