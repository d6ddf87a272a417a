"""The parts that all others use: requests and answers, values, the schema of tables, the store."""
