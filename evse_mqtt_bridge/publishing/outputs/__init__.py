"""One module or package per output."""
