"""Decide when and where tasks start: the timetable, triggers, pools and listeners."""
