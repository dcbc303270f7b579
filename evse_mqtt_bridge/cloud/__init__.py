"""The vendor's API: what it answers and how it is asked."""
