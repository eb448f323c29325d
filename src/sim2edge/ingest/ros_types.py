"""Translate the message definitions of ROS: those of ROS 1 and IDL to `ros2msg`, and known types without definitions.

    schema, convert = to_ros2(schema)       # a `ros2msg` schema, and a function from ROS 1's bytes to CDR, or None

A file of ROS 1 or an old SQLite bag is decoded like a bag of ROS 2 then, with the same schema names.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from mcap.records import Schema
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore
from rosbags.typesys.msg import normalize_msgtype

ROS2_MSG, ROS2_IDL, ROS1_MSG = "ros2msg", "ros2idl", "ros1msg"
CDR, ROS1 = "cdr", "ros1"
MAX_DEFINITION = 1 << 20
"""Longest message definition, bytes."""
HEADER = "std_msgs/msg/Header"
RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}
"""Types of ROS 1 that have another name in ROS 2, and the same content."""
IDL_SEPARATOR = "=" * 80 + "\n"


def ros2_name(name: str) -> str:
    """Return the name of a type in ROS 2: `sensor_msgs/msg/Image` for `sensor_msgs/Image`."""
    full = normalize_msgtype(name) if name.count("/") == 1 else name
    return RENAMED.get(full, full)


def named_as_ros2(schema: Schema) -> Schema:
    """Return the schema with its type's name in ROS 2, if it is one of ROS: some writers leave out `/msg`."""
    of_ros = schema.encoding in (ROS1_MSG, ROS2_MSG, ROS2_IDL)
    return replace(schema, name=ros2_name(schema.name)) if of_ros else schema


def to_ros2(schema: Schema) -> tuple[Schema, Callable[[bytes], bytes] | None]:
    """Return the schema as `ros2msg`, if it is one of ROS, and how to convert messages to CDR, if they are of ROS 1.

    Raises:
        ValueError, TypesysError: the definition cannot be read.
    """
    if schema.encoding not in (ROS1_MSG, ROS2_IDL):
        return schema, None
    if len(schema.data) > MAX_DEFINITION:
        raise ValueError(f"a definition of {len(schema.data)} bytes")
    text, name = schema.data.decode(), ros2_name(schema.name)
    store = get_typestore(Stores.EMPTY)
    if schema.encoding == ROS2_IDL:
        parts = (part.partition("\n")[2] if part.startswith("IDL: ") else part for part in text.split(IDL_SEPARATOR))
        store.register({key: each for part in parts if part.strip() for key, each in get_types_from_idl(part).items()})
        convert = None
    else:
        types = get_types_from_msg(text, name)
        if HEADER in types:  # the conversion skips `seq`, which ROS 2 has no longer
            constants, fields = types[HEADER]
            types[HEADER] = constants, [field for field in fields if field[0] != "seq"]
        store.register(types)

        def convert(data: bytes) -> bytes:
            return bytes(store.ros1_to_cdr(data, name))

    definition, _ = store.generate_msgdef(name, ros_version=2)
    return Schema(id=schema.id, name=name, encoding=ROS2_MSG, data=definition.encode()), convert


@lru_cache(maxsize=256)
def known_definition(name: str) -> bytes:
    """Return the `ros2msg` definition of a standard type, empty for another one.

    Bags in SQLite of ROS 2 before Iron have no definitions.
    """
    store = get_typestore(Stores.ROS2_HUMBLE)
    if name not in store.fielddefs:
        return b""
    text: str = store.generate_msgdef(name, ros_version=2)[0]
    return text.encode()
