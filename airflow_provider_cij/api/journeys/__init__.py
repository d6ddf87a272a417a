"""Real-time journeys."""
