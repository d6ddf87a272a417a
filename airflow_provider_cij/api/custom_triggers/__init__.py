"""Custom triggers, raised for one person or for many."""
