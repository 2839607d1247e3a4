"""The values inside one stored tensor."""
