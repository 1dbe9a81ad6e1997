"""Holdfast's own parts without batching: one message and one transaction per order."""
