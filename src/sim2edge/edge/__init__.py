"""The code on the device: the detector and its service, the updater, the metrics; without torch and airflow."""

import os

# OpenCV reads this once, when it is loaded: a small JPEG must not decode into gigabytes on a Pi.
# https://docs.opencv.org/4.x/d6/dea/tutorial_env_reference.html
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(2**24))
