"""The query language of segments."""
