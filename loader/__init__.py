"""The ground floor: from a list file to an index that answers. It knows nobody above it."""
