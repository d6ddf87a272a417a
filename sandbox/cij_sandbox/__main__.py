"""``python -m cij_sandbox``."""

from .cli import main

raise SystemExit(main())
