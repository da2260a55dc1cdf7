"""The Python application of the test."""
