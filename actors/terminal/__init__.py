"""What operators do from a terminal: `holdfast failures`, `holdfast queues`, `holdfast top`."""
