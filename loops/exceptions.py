"""What can go wrong in the loops. Every message names the cause and what to do about it.

::

    LoopError
    ├── BadStrategyFile      a person's strategy file cannot be read as a strategy
    ├── BadGuards            a guards file cannot be read as guards
    ├── UnknownAgent         an agent that no entry point offers
    ├── AgentFailed          an agent crashed, hung, or proposed what cannot be meant
    ├── UnknownScenario      a job names a class of scenario that its design lacks
    ├── BadScenario          a class of scenario from another package that fails or makes no scenario
    ├── BadLearnerState      bytes that are no state of a learner
    └── ForeignResult        a shard result that does not belong to the job or has another shape
"""


class LoopError(Exception):
    """Base of all errors of this package."""


class BadStrategyFile(LoopError, ValueError):
    """A strategy file is not YAML, or a field of it is missing, unknown or has an impossible value."""


class BadGuards(LoopError, ValueError):
    """A guards file is not YAML or does not describe guards."""


class UnknownAgent(LoopError, LookupError):
    """No installed package offers an agent of that name under the entry points `twinloop.agents`."""


class AgentFailed(LoopError, RuntimeError):
    """An agent raised an error, died, did not answer in time, or answered with what is no proposal for this network."""


class UnknownScenario(LoopError, LookupError):
    """A shard names a class of scenario that its design does not describe."""


class BadScenario(LoopError, RuntimeError):
    """A class of scenario that another package offers cannot be loaded, fails, or makes what is no scenario."""


class ForeignResult(LoopError, ValueError):
    """A shard result does not fit the job it is given to."""


class BadLearnerState(LoopError, ValueError):
    """Bytes that are no state of a learner, or one of another version."""
