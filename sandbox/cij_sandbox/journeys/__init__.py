"""Real-time journeys created from templates, and the messages and custom triggers that they use.

The sources are "Use the Create Journey From Template API" and the table reference.
"""
