"""Filter requests to the engine's socket: Airflow may run stage containers with it, and nothing else.

Write access to the socket is root access to the host. `calls` parses a request strictly, `create_body` and `decision`
decide what is allowed (pure functions, allow-lists only), `server` is the thin I/O shell. An allowed request is
rebuilt from its parsed form, so the engine cannot parse it differently.
"""
