"""Time and decisions of octy, as Temporal workflows.

- `incident`: one case: alert → wait for the customer or staff → regenerate or close
- `regeneration`: one new pair: issue → prove → send → wait for collection → retire the old pair
- `notice`: one mail or two about what is no case
- `maintenance`: what recurs: retention, reconciliation, the daily digest
- `webhook`: one event, told to the customer's own server
- `incident_answer`: which answer to a case stands
- `messages`: what workflows are told and tell; `activities`: what they ask of the worker
- `retry`: how patiently is asked and waited; `mails`: mails, which may take days
- `staff_input`: what people type; `current_details`: what they read

Here: the standard library and temporalio, nothing else; Temporal may load this package anew for every
workflow. Not here: SQL, mail, cryptography, names, addresses, keys.
"""
