"""What the perception recipe tells apart, by name; apart from the arithmetic, so that configs can name them cheaply."""

CLASSES = ("box", "cylinder", "chair", "table", "plant", "person", "shoe", "cable", "door_frame")
"""Obstacle classes, in the order of the class logits."""

FLOORS = ("wood", "tile", "carpet", "concrete", "rug")
"""Floor types, in the order of the floor logits."""
