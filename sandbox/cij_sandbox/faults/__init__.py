"""Faults that are injected on demand, and the limits of service protection."""
