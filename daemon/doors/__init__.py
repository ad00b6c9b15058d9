"""The ways in which switches ask: one file a front door; each parses, asks, and renders."""
