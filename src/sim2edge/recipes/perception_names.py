"""Name the classes and floors of the perception recipe; light to import, for configs."""

CLASSES = ("box", "cylinder", "chair", "table", "plant", "person", "shoe", "cable", "door_frame")
"""Obstacle classes, in the order of the class logits."""

FLOORS = ("wood", "tile", "carpet", "concrete", "rug")
"""Floor types, in the order of the floor logits."""
