"""Outbound marketing, which Microsoft removed in 2026. Nothing else imports it, so that it can be dropped."""
