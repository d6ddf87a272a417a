"""Real-time segments: their rows, their verbs, and waiting for them."""
