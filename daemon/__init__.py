"""The service that answers telephone switches."""
