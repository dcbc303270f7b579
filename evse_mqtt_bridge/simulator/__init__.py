"""A simulator of the vendor's cloud API, and the embedded broker of the demo."""
