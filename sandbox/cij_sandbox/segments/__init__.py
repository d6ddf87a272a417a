"""Segments of real-time journeys."""
