"""Upsert of rows of any table, contacts and leads before all."""
