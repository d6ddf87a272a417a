"""Members of segments: lists of ids, uploads, pages."""
