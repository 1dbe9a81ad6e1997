"""The front door: validates and enqueues, and answers reads. It never writes an order or stock."""
