"""Laws, oracles and promises of specdesc, on every library that is installed."""
