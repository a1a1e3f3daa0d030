"""Ways to the leading singular triplets, from a cheap block to a dense SVD."""
