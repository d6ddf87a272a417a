"""The process: HTTP, login, the command line."""
