"""What everything stands on: requests and answers, values, the shape of tables, the store."""
