"""Dramatiq actors on RabbitMQ: they own every change of an order or of stock."""
