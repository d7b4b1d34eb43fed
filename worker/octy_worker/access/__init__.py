"""Who of the staff may do what, and how they prove it: roles, orders, certificates, second factors, receipts."""
