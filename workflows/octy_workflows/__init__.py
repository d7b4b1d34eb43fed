"""Temporal workflows of octy; only the standard library and temporalio are imported here.

- `incident`: alert → wait for the customer's or staff's answer → regenerate or close
- `regeneration`: issue a key pair → verify → mail → wait for collection → retire the old key pair
- `notice`: one or two mails that need no answer
- `maintenance`: recurring jobs: retention, reconciliation, the daily digest
- `webhook`: post one event to the customer's server
- `messages`: payloads; `activities`: declarations of the worker's activities
- `mails`, `activity_calls`, `signals`, `retry`, `task_queues`: shared by the workflows
- `order_content`, `staff_input`: what staff sends; `current_details`: what staff reads in Temporal's Web UI
"""
