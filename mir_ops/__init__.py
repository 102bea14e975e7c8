"""Active-learning rounds for vision datasets: dataset versions, executors, mining, labels."""

__version__ = "0.1.0"
