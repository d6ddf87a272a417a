"""``make bench``: what the package costs, as ratios against a peer or a limit measured in the same run."""

from __future__ import annotations

import sys

from tests.bench import add_members, importing, many_ids, match_emails, sandbox_at_size, two_million, upsert_rows

if __name__ == "__main__":
    importing.main()
    add_members.main()
    many_ids.main()
    sandbox_at_size.main()
    match_emails.main()
    two_million.main()
    upsert_rows.main()
    sys.exit(0)
