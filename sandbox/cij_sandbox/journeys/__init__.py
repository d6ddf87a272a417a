"""Real-time journeys from templates, the messages and custom triggers they use, and consent.

By "Use the Create Journey From Template API" and the table reference; what is undocumented is in the list of
assumptions of the package.
"""
