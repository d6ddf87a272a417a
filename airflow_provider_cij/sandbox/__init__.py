"""A local organisation with Customer Insights - Journeys (real-time segments) for demos and tests."""
