"""When and how stations are polled."""
