"""The staff API (`/staff/v1`): everything that staff read and order, for people without a shell on the worker's host.

    wire       paths, bodies and errors, which the client has in common; imports no server
    access     who a request comes from: its address and its session
    attempts   limits of log-ins and orders that are refused, and who is told of them
    endpoints  what can be called; every endpoint names the role that it needs
    order_endpoints  those of orders: received, carried out, waiting for a signature
    app        the Starlette app: one route for each endpoint
    openapi    its description, generated from the endpoints
    process    the app as a server process of its own

There is no access log, and no redirect that is built from the Host header.
"""
