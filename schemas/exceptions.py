"""What can go wrong with a schema or a name.

::

    SchemaError
    ├── InvalidName          a distinguished name that 3GPP TS 32.300 would not accept
    ├── UnknownLayout        a PM report in a counter layout nobody registered
    ├── UnknownTopic         a topic outside the table in schemas.topics
    ├── UnsupportedType      a model field that has no Avro form
    ├── IncompatibleSchema   the registry refuses a change
    └── RegistryUnavailable  the registry cannot be reached or answers nonsense
"""


class SchemaError(Exception):
    """Base of all errors of this package."""


class InvalidName(SchemaError, ValueError):
    """A distinguished name is malformed; also a ValueError so that pydantic reports it."""


class UnknownLayout(SchemaError, LookupError):
    """A PM report names a counter layout that is not registered."""


class UnknownTopic(SchemaError, LookupError):
    """A topic is not one of twinloop's."""


class UnsupportedType(SchemaError, TypeError):
    """A model has a field whose type or default Avro cannot express."""


class IncompatibleSchema(SchemaError):
    """The schema registry refuses a schema as incompatible with its subject's history."""


class RegistryUnavailable(SchemaError):
    """The schema registry cannot be reached."""
