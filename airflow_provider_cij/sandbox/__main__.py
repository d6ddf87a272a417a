"""``python -m airflow_provider_cij.sandbox``."""

from .cli import main

raise SystemExit(main())
