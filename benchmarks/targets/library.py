"""Arrays in and out of the libraries that are compared."""

import numpy as np

from specdesc import backends


def array(values, library, dtype):
    """Move host data to the CPU arrays of a library."""
    return backends.load(library).from_host(values, dtype=dtype)


def host(x):
    """Return a result as float64 on the host, bfloat16 included."""
    if not isinstance(x, (np.ndarray, np.generic)):
        x = x.double().numpy()
    return np.asarray(x, dtype=np.float64)
