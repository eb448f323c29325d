"""Decide what starts when and where: the timetable, triggers, pools and listeners."""
