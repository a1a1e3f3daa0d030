"""The optimizer of torch: rules on the parameters of a model, as torch's users expect it.

The design. A parameter group is a dict, and the only truth. It has the parameters, a rule
(``"rule"``), how the rule sees them (``"view"``, ``"scale"``, ``"layout"``, ``"stack"``,
``"sections"``), and the numbers of the rule under the names of torch, absolute (`numbers`). At
every step the rule is made anew from the numbers, and views from the shapes: whatever somebody has
written into a group since, the step follows, or refuses by name. No table beside the groups says
what a parameter is. Tensors are told apart by identity; names are for people and for checkpoints.

A step: each group becomes a list of items, a parameter with its gradient, its state and what it
gets (`items`); items go to AdamW over lists of tensors (`adamw`), to Muon stack by stack
(`momentum`), or to the rule itself, stack by stack (`stacks`). All three write over parameters and
states in place. Parameters that are spread over processes are stepped on where they lie if the rule
looks at one number at a time, else gathered for the step (`shards`). What comes in at construction
becomes groups in `ways`, what comes in from files in `checkpoint`. `muon` is for those who want one
line: what the parameters of a model are for is read in `roles`.
"""

from .base import Optimizer
from .muon import Muon

__all__ = ["Muon", "Optimizer"]
