"""A local organisation with Customer Insights - Journeys (real-time segments), for demos and tests.

It answers as "Create a segment using the Web API" and the Dataverse Web API documents say. What it does not
implement ($metadata, $apply, lambdas, navigation, FetchXML of several tables, journeys, StopSegments, ...) it refuses
with 501.

Where the documents are silent it assumes:
- static members are not checked against their table; adding an id twice changes nothing; one bad id refuses the call;
- RemoveStaticMembers answers 204; an unknown segment or group is a 400 in the plug-in's frame, the reason in our words;
- MembersList takes the optional integers PageNumber and PageSize, 5000 by default, and shows the last finished run;
- ListGroupMembers is sorted by id;
- in a segment query a comparison with a missing value is no match, and neither is its opposite; ids are strings;
- in $filter, "ne" and "not" do match rows without a value (OData);
- publishing again during a run starts anew and leaves the earlier run Skipped;
- the definition of a segment that ended in Error is a Draft; a live definition may be changed, to show at next publish;
- a live segment may be deleted; deleting a definition takes its groups, members and runs with it;
- segment status 10 is Expired, 11 (Faulted) is inactive; definition statuses Stopping and Stopped are active;
- msdynmkt_segmentquery holds 1,048,576 characters; $top wins over odata.maxpagesize; a URL that is too long is a 414;
- a batch that cannot be read changes nothing; each request of a change set needs a Content-ID; actions in a change set
  that fails are undone as rows are; headers of the batch do not count for the requests in it;
- FetchXML "ne" and "not-..." match rows without a value; a fetch of another set's entity is a 400; of what is wrong in
  FetchXML the codes are those a public list has for it, the words are ours;
- formatted values are American English, in UTC and dollars; yes/no columns say Yes and No;
- headers that impersonate, and those of the solution and of duplicate detection, change nothing;
- columns the platform keeps itself are ignored in a body; sourcesegmentcreatedon/by are columns of both tables.
"""
