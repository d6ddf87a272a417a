"""A local organisation with Customer Insights - Journeys, for demos and tests.

It answers as "Create a segment using the Web API" and the Dataverse Web API documents say, and for outbound marketing
as "Basic operations on segments" and "Basic customer journey API operations" do. What it does not implement
($batch, $metadata, $apply, FetchXML, lambdas, navigation, real-time journeys, StopSegments, ...) it refuses with 501.

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
- columns the platform keeps itself are ignored in a body; sourcesegmentcreatedon/by are columns of both tables.

For outbound marketing it assumes:
- msdyncrm_query in a row is another name of msdyncrm_segmentquery; required columns are required of drafts too, except
  the query; msdyncrm_segmentquery holds 1,048,576 characters;
- a row may be created in any status; going live and stopping take --compute-seconds; a segment made live by hand is
  evaluated at once; asking for the status a row has changes nothing; the codes of refused transitions, missing values
  and failed validations are 0x80048408, 0x80040203 and 0x80040265;
- segmentmemberids wants the prefix crm, memberids of SegmentMembersUpdate none; both ignore ids of nobody;
- members are those of the last evaluation, none before the first, also when a segment is used in another one; those
  of a static segment change as soon as a change of members is done; changes are also made to drafts;
- SEGMENT() takes the name in the backend or the given one, if only one segment has it; CONTAINS and its like, AND and
  OR do parse; DATEDIFF, INTERACTION, HAVING and comparisons of columns are refused with 501;
- SegmentMembersUpdate answers 204, and to getState SegmentState: {"state":"Pending"|"Completed","pendingOperations":n};
  it takes 100,000 ids; a contact of another business unit hangs a segment whose scope is a business unit for good:
  its operations and walks stay pending;
- FetchContactsByQuery answers Result: {"entities":[...],"totalRecordCount":n,"moreRecords":false}, JSON in a string,
  with the columns of its FetchXml, and a 400 when Query and FetchXml mean different pages;
- ValidateSegment finds one error at a time, with the one code that is documented;
- faults of journeys have names of the sandbox's own, except the one that is documented; whether segments and content
  settings exist and are live is looked into only when a journey has no other error; e-mails are taken at their word;
- a journey that goes live with errors ends in Error, with the result in msdyncrm_validationresults;
- with --outbound-removed segments answer 403, other rows can be read only, and the actions are unknown.
"""
