"""`make run` and `make test`: private servers and supervised processes on one machine."""
