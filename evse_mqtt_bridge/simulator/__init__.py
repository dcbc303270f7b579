"""A stand-in for the vendor's cloud, with stations that live."""
