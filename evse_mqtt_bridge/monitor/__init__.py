"""What a running bridge shows of itself: the picture, metrics and health, over HTTP."""
