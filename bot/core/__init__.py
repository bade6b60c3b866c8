"""What decides: synchronous state machines without clock, randomness, logs or I/O."""
