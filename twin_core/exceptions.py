"""What can go wrong in the engine. Whatever is raised, the twin it was raised from is as it was.

::

    TwinError
    ├── EmptyNetwork         no cell stands in the area of the twin
    ├── UnknownObject        a cell, lever object or KPI that this network does not have
    ├── InvalidConfiguration a lever set to a value that no network could take
    ├── InvalidObservation   a period's telemetry in the wrong shape or order
    ├── InvalidSurvey        known path loss that does not fit the network
    ├── InvalidScenarios     perturbations in the wrong shape, negative or not finite
    ├── InvalidSettings      settings outside their range
    ├── InvalidModel         parameters of a learned model that must not be used
    ├── InvalidFile          a topology or map to read or write that cannot be one
    ├── InvalidGeometry      buildings that cannot stand, places that are nowhere
    ├── InvalidTask          an environment for training that cannot be made or begun so
    ├── InvalidAction        an action of an agent in the wrong shape or out of bounds
    ├── MissingLibrary       an optional library that is needed for what was asked
    └── SnapshotError        bytes that are no snapshot of this format
        ├── SnapshotVersion  written by another format version
        └── SnapshotCorrupt  truncated, altered, or not a snapshot at all
"""


class TwinError(Exception):
    """Base of all errors of this package."""


class EmptyNetwork(TwinError, ValueError):
    """The network has no cells or no area."""


class UnknownObject(TwinError, LookupError):
    """The network has no such cell, lever object, attribute or KPI."""


class InvalidConfiguration(TwinError, ValueError):
    """A configuration has the wrong shape or values that no network could take."""


class InvalidObservation(TwinError, ValueError):
    """A period's observation does not fit the twin it is applied to."""


class InvalidSurvey(TwinError, ValueError):
    """Known path loss has another shape than the network's map, or values that no link can have."""


class InvalidScenarios(TwinError, ValueError):
    """Perturbations do not fit the network, are negative or not finite."""


class InvalidSettings(TwinError, ValueError):
    """A setting lies outside its range."""


class InvalidModel(TwinError, ValueError):
    """Parameters of a learned model are missing, of the wrong shape, or not finite."""


class InvalidFile(TwinError, ValueError):
    """A file cannot be read as a topology or map, or what is to be written has no place in its format."""


class InvalidGeometry(TwinError, ValueError):
    """Buildings that cannot stand so, or positions that are none."""


class InvalidTask(TwinError, ValueError):
    """What an environment for training is about does not fit its network, or contradicts itself."""


class InvalidAction(TwinError, ValueError):
    """An agent's action has the wrong shape, or values that are no numbers or out of bounds."""


class MissingLibrary(TwinError, ImportError):
    """An optional library is not installed."""


class SnapshotError(TwinError):
    """Bytes that cannot be restored."""


class SnapshotVersion(SnapshotError):
    """A snapshot of another format version."""


class SnapshotCorrupt(SnapshotError):
    """A snapshot that is truncated, altered or not one at all."""
