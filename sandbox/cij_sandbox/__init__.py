"""A local organisation with Customer Insights - Journeys, for demos and tests.

It answers as "Create a segment using the Web API", "Use the Create Journey From Template API" and the Dataverse Web
API documents say, and for outbound marketing as "Basic operations on segments" and "Basic customer journey API
operations" do. What it does not implement ($metadata, $apply, lambdas, navigation to many rows, FetchXML of several
tables, versions of journeys, ...) it refuses with 501.

Segments stay alive after publishing, as "Automated segment management" says: they are refreshed every 30 minutes on
their first day or while in use, else daily (msdynmkt_disablesegmentrefresh: never), and Expired after 120 unused days.
POST /sandbox/clock {"advance_seconds": N} advances the time, --speed makes it run faster; neither needs a token.
Computing, stopping, tokens and certificates take real time. With --state the time never goes back.

Journeys are made from templates (three at first, with e-mails for them). They go from Draft by Publishing to Live, or
back with the reasons in msdynmkt_errorDetails; at their end time they are Completing, then Completed. No mail leaves
the sandbox: /mail shows whom a journey mailed, whom consent left out, and why; GET /sandbox/mail?since=N&journey=ID
lists the same.
Each custom trigger that is ready to use is an action: msdynmkt_orderplaced and msdynmkt_cartabandoned, and those that
POST /sandbox/triggers {"name": "msdynmkt_...", "attributes": {"msdynmkt_...": "string"}} adds ("state": "Stopped" or
"Draft"; types boolean, datetime, decimal, float, integer, reference, string). GET /sandbox/events?since=N&trigger=NAME
lists the raised events with profile and time. One contact in ten has opted out of commercial e-mail, one in ten has
opted in.

Faults are injected on demand: --fault '{"fault": "429", "path": "AddStaticMembers", "count": 2}', or the same by POST
to /sandbox/faults (GET shows how many requests each has struck, DELETE deletes them). "path" is a part of the request's
path, by default "^/api/data/": * stands for anything, ^ and $ for its ends, a backslash before a sign for that sign.
"method", "count" (how many requests it strikes), "after" (how many it lets through before), "probability" and "seed"
select further. The first rule that applies wins; a request without a valid token is refused before. Faults are:
- 429 ("code", "retry_after", "retry_after_date"), 400, 401 ("invalidate": the token is revoked), 500, 502, 503, 504
  ("body": "html" or "json", "processed": the request was carried out); also for the login endpoint;
- reset (not processed) and lost (processed): the connection ends without a reply ("close": "rst" or "eof");
- save_timeout: a journey answers UnableToSaveJourneyEntityDueToTimeout; it was created, unless "processed" is false;
- sql_timeout (0x80044151) and deadlock (0x80044150): a 500, not processed, as CreateMultiple and its like may answer;
- slow ("delay" before processing, "reply_delay" after); html200 (a proxy's login page); truncated (processed, half the
  reply; "consistent": with the matching Content-Length).
- no_application_user, no_role, disabled_user: every request is refused with 403, as on a first day;
- missing_privilege ("table": a logical name, "operation": create, read, write, delete, append or appendto; without them
  any): the requests that need it are refused, inside $batch too;
- expired_secret, wrong_secret, unknown_application, unknown_tenant: the login endpoint refuses with AADSTS7000222,
  7000215, 700016 or 90002.
GET / is a page that shows the organisation; nobody needs a token for it, on this machine.
GET /sandbox/requests?since=N lists the requests and their results. --limits enforces service protection.

Contacts and leads have the organisation's own column new_customerno, and contacts an alternate key on it. More keys are
defined by POST to EntityDefinitions(LogicalName='...')/Keys. CreateMultiple, UpdateMultiple and UpsertMultiple work on
every table that can be written to, and write all targets or none. Each response recommends with x-ms-dop-hint how many
requests to send at once (--dop-hint) and sets the cookie ARRAffinity.

What no document says is in the list of assumptions, each with an id, and many with alternatives. --like FILE plays the
organisation of a report of "airflow cij probe"; POST /sandbox/assumptions {"segments.add-twice": "400 0x80040265"}
chooses one (GET lists them, null stands for the default).
"""

__version__ = "0.1.0"
