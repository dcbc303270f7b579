"""What the project's claims about speed, size and endurance rest on: `make bench`, `make soak`, and README.md."""
