"""Ways to the orthogonal polar factor: methods, plans and solvers."""
