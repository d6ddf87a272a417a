"""The Dataverse Web API: rows, queries, metadata, actions and batches of any table."""
