"""A filter before the engine's socket: Airflow may run stage containers with it, and nothing else.

Whoever can write to the socket owns the host. `calls` reads a request strictly, `create_body` and `decision` say what
is let through (pure functions, allow-lists only), `server` is the thin shell around them. What is let through is built
anew from what was understood, so the engine never gets to read a request in a way of its own.
"""
