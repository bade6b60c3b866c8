"""Async shells that move messages between inboxes and hand them to a core."""
