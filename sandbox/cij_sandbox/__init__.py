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

Where the documents are silent it assumes:
- a request refused by service protection counts as one; time counts from the end of a request on; after too many at
  once Retry-After is 1; x-ms-ratelimit-time-remaining-xrm-requests is in seconds; a $batch is one request;
- a fault of the login endpoint is AADSTS90055 (429), 90033 (5xx), 7000222 (401) or 700016 (400); a fault 400 of the Web
  API is the plug-in's frame around a 503 of the service behind it;
- a disabled user gets 403; the privileges of actions are Write of msdynmkt_segmentdefinition (members, publish) or of
  msdynmkt_segment (stop), Read of msdynmkt_segment (members, status), Create of msdynmkt_journey as documented, Write
  of it (publish) and Read (validate); raising a custom trigger needs none;
- static members are not checked against their table; adding an id twice changes nothing; one bad id refuses the call;
- RemoveStaticMembers answers 204; an unknown segment or group is a 400 in the plug-in's frame, the reason is ours;
- MembersList takes the optional integers PageNumber and PageSize, 5000 by default, and shows the last finished run;
- ListGroupMembers is sorted by id;
- in a segment query a comparison with a missing value is no match, and neither is its opposite; ids are strings;
- in $filter, "ne", "not" and NotIn() do match rows without a value (OData);
- publishing again during a run starts anew and leaves the earlier run Skipped; publishing a Stopping segment wins;
- the definition of a segment that ended in Error is a Draft; a live definition may be changed, to show at the next run;
- a live segment stays Active while it is refreshed; a refresh that fails ends in Error, as a publish does;
- "new" is the first day after a publish; time that passes at once is caught up with by one refresh;
- the definition of an Expired segment is Stopped; a static snapshot expires as well; a republished one is new;
- StopSegments goes through its list in order; a segment that is unknown or not live (already stopped included) has
  WasStopped false and a Message; the lists of dependents hold ids; Stopped follows after a third of --compute-seconds;
- a journey uses the segments whose ids stand anywhere in msdynmkt_journeyjson, while its status is Live; a segment
  builds upon those whose ids stand in its definition's msdynmkt_targetedsegmentids, while it is live (status 1 or 7);
- what a live journey uses keeps its query and its rows (400), not its static members; else a live segment may be
  deleted; deleting a definition takes its groups, members and runs with it;
- journeys are ordinary rows otherwise (names may be used twice, statuses set), but one that was ever live is not
  deleted, as documented, and one that is Publishing neither: 400 in the plug-in's frame, the reason is ours;
- PublishJourneyV2 is unbound, takes msdynmkt_journeyid and answers 204; it takes drafts only, and --compute-seconds;
- CreateJourneyJsonFromTemplate takes what CreateJourneyFromTemplate does, but for mode, unit and merged journey, and
  answers msdynmkt_journeyjson, msdynmkt_isvalid and msdynmkt_errors; in ValidateJourneyJson only the JSON matters;
- no journey has the id null; none comes of a template, path, JSON, name or business unit that is wrong, in Draft mode
  either; of other errors drafts ignore NotReadyToSendMessageState only, and are created with the rest;
- JSONPath is that of RFC 9535, and all that a path finds is replaced; a path that finds nothing, or the whole JSON, is
  InvalidJsonPath; what is replaced keeps its kind (text stays text; a list, object, number or boolean takes JSON of
  that kind), else InvalidJsonAfterModificationApplied;
- in a journey's JSON the trigger has a type (OneTime, Recurring, Ongoing, Event), an audience or an eventName; without
  one, InvalidDefinition; looked into are the trigger's event, segments and e-mails (contentId), no other messages; more
  than 365 days are InvalidTimeRange, too long a name or JSON UnableToSaveJourneyEntity;
- of a merged journey key, statuses, JSON, errorDetails and lookups are left out;
- the action of a draft trigger does not exist, that of a stopped one answers 400; attributes are not optional; a
  profile id is any string; catalogue rows cannot be written; 2,500 events a minute are no limit;
- templates have the statuses of journeys; a row of an e-mail may be set to Ready to send; consents may exist twice;
- with --unknown-members warn the unknown ids of an included group are members still;
- segment status 10 is Expired, 11 (Faulted) is inactive; definition statuses Stopping and Stopped are active;
- msdynmkt_segmentquery holds 1,048,576 characters; $top wins over odata.maxpagesize; a URL that is too long is a 414;
- a batch may end without a line end; one that cannot be read changes nothing; each request of a change set needs a
  Content-ID; actions in a change set that fails are undone as rows are; headers of the batch do not count for the
  requests in it;
- FetchXML "ne" and "not-..." match rows without a value; a fetch of another set's entity is a 400; of what is wrong in
  FetchXML the codes are those of a public list, the messages are ours;
- formatted values are American English, in UTC and dollars; yes/no columns say Yes and No;
- headers that impersonate and those of the solution change nothing; duplicate detection, when its header turns it on,
  knows one rule: contacts and leads with the same emailaddress1; it applies to CreateMultiple and its like as well;
- MSCRM.BypassBusinessLogicExecution is allowed, and changes nothing, as all logic is Microsoft's own;
- the index of an alternate key is built at once; a value that a key in a URL cannot hold is a 400; SQL errors are 500;
- a target of UpdateMultiple may name its row in @odata.id; a target of UpsertMultiple that names none is created; of
  several wrong targets the first is answered; without --deadlocks a row may be written twice at once;
- columns the platform keeps itself are ignored in a body; sourcesegmentcreatedon/by are columns of both tables.
- a journey mails its audience once, at its start, as of the last evaluation, whatever its trigger's type; an e-mail, or
  an action, that names no purpose is of the commercial one; its address is in the first column of the audience
  configuration, whose columns hold logical names with commas between; nobody is mailed by an external consent provider;
- a new purpose without enforcement models is restrictive; the N:N of purposes and profiles takes rows by POST;
- of consents modified at the same second the one that was written last counts;
- msdynmkt_checkconsent (--with-check-consent) has the inputs and outputs of replacement consent providers, and takes
  1,000 addresses;

For outbound marketing it assumes:
- msdyncrm_query in a row is another name of msdyncrm_segmentquery; required columns are required of drafts too, except
  the query; msdyncrm_segmentquery holds 1,048,576 characters;
- a row may be created in any status; going live and stopping take --compute-seconds; a segment made live by hand is
  evaluated at once; asking for the status a row has changes nothing; the codes of refused transitions, missing values
  and failed validations are 0x80048408, 0x80040203 and 0x80040265;
- segmentmemberids wants the prefix crm, memberids of SegmentMembersUpdate none; both ignore ids of no contact;
- members are those of the last evaluation, none before the first, also when a segment is used in another one; those
  of a static segment change as soon as a change of members is done; changes are also made to drafts;
- SEGMENT() takes the name in the backend or the given one, if only one segment has it; CONTAINS and its like, AND and
  OR do parse; DATEDIFF, INTERACTION, HAVING and comparisons of columns are refused with 501;
- SegmentMembersUpdate answers 204, and to getState SegmentState: {"state":"Pending"|"Completed","pendingOperations":n};
  it takes 100,000 ids; a contact of another business unit blocks a segment whose scope is a business unit: its
  operations and walks stay pending; business units are rows like others, with a name and no parent;
- FetchContactsByQuery answers Result: {"entities":[...],"totalRecordCount":n,"moreRecords":false}, JSON in a string,
  with the columns of its FetchXml, and a 400 when Query and FetchXml mean different pages;
- ValidateSegment finds one error at a time, with the one code that is documented;
- faults of journeys have names of the sandbox's own, except the one that is documented; whether segments and content
  settings exist and are live is looked into only when a journey has no other error; e-mails are taken at their word;
- a journey that goes live with errors ends in Error, with the result in msdyncrm_validationresults;
- with --outbound-removed segments answer 403, other rows can be read only, and the actions are unknown.
"""

__version__ = "0.1.0"
