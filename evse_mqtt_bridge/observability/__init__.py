"""What a running bridge shows of itself: log, counters, history, health, metrics, snapshot."""
