"""Who a device is: its record on the server, its signed status, the file that carries an enrolment to it."""
