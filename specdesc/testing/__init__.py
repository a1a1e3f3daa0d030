"""Property tests for what you wrote yourself: proxes, norms, preconditioners, rules, problems.

Each check takes an object, tries it on matrices drawn from a seed, and on matrices where formulas
break: zero, equal entries, equal singular values, tall and wide. It returns a `Report`. The laws
are those of the definition, so a wrong operator fails them whatever its formula is::

    report = testing.check_prox(MyFunction())
    assert report.passed, report

Every check runs in any precision of any library. What may differ is rounding of the dtype: a few
dozen of it, and of the longest side, relative to the numbers that are compared.
"""

from specdesc.testing.norm import check_norm
from specdesc.testing.operator import check_operator
from specdesc.testing.preconditioner import check_preconditioner
from specdesc.testing.problem import check_problem
from specdesc.testing.prox import check_prox
from specdesc.testing.report import Report
from specdesc.testing.rule import check_rule

__all__ = [
    "Report",
    "check_norm",
    "check_operator",
    "check_preconditioner",
    "check_problem",
    "check_prox",
    "check_rule",
]
