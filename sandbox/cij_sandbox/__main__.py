"""``python -m cij_sandbox``."""

from cij_sandbox.server.cli import main

raise SystemExit(main())
