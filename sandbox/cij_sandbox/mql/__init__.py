"""The query language of segments: one grammar, of which each generation of the product reads a dialect."""
