"""Measures the project's claims about speed, size and endurance: `make bench`, `make soak`, and README.md."""
