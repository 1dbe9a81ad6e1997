"""The usual way: FastAPI takes an order, a Celery task decides it, SQLAlchemy keeps it."""
