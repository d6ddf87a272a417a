"""The demo: the main job with real Airflow against the sandbox. ``make demo``, ``make ui``."""
