"""``make bench``: what the package costs, as ratios against a peer or a limit measured in the same run."""

from __future__ import annotations

import sys

from tests.bench import (
    add_members,
    consent_of_many,
    dag_in_a_test,
    importing,
    lists,
    many_ids,
    match_emails,
    sandbox_at_size,
    starting,
    table,
    two_million,
    upsert_rows,
    waiting,
)

if __name__ == "__main__":
    importing.main()
    starting.main()
    dag_in_a_test.main()
    add_members.main()
    lists.main()
    waiting.main()
    many_ids.main()
    sandbox_at_size.main()
    match_emails.main()
    consent_of_many.main()
    two_million.main()
    upsert_rows.main()
    table.show()
    sys.exit(0)
