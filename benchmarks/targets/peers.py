"""The other ways to a polar factor, called where they are, and what is taken of them.

Each peer is a function of one array that returns a factor. It runs in the dtype that suits it best
and on all threads of its library:

- `muon`: the kernel of ``torch.optim.Muon``, with the optimizer's default coefficients, five steps,
  in bfloat16, whatever the input. It takes one matrix at a time.
- `scipy_polar`: ``scipy.linalg.polar``, by an SVD in the dtype of the input. It gives the Hermitian
  factor too, one product that this comparison cannot take out.
- `torch_svd`: ``torch.linalg.svd`` and the product of its factors, in the dtype of the input.
- `gram_eigh`: the eigenvalues of the Gram matrix of the short side by ``torch.linalg.eigh``, in the
  dtype of the input or in float64; what lies below the floor is dropped.
- `polar_express`: the published steps of arXiv:2505.16932 with their damping, in the dtype of the
  input, on the Frobenius norm: seven, or more with the last one repeated, as its authors do.
"""

import torch
from scipy import linalg
from torch.optim import _muon

from specdesc import minimax

MUON = ((3.4445, -4.7750, 2.0315), 5, 1e-7)


def muon(x):
    """Return what torch.optim.Muon makes of one matrix."""
    return _muon._zeropower_via_newtonschulz(x, *MUON)


def muon_loop(x):
    """Return the same for each matrix of a stack."""
    return torch.stack([muon(matrix) for matrix in x])


def scipy_polar(x):
    """Return the unitary factor."""
    return linalg.polar(x)[0]


def torch_svd(x):
    """Return U Vᴴ."""
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    return u @ vh


def gram_eigh(x, floor):
    """Return (X Xᵀ)^(-1/2) X for the eigenvalues above floor² of the largest."""
    wide = x if x.shape[-2] <= x.shape[-1] else x.mT
    values, vectors = torch.linalg.eigh(wide @ wide.mT)
    kept = values >= floor**2 * values[..., -1:]
    inverse = torch.where(kept, values, torch.inf).rsqrt()
    factor = (vectors * inverse[..., None, :]) @ (vectors.mT @ wide)
    return factor if wide is x else factor.mT


def gram_eigh_double(x, floor):
    """Return the same by way of float64."""
    return gram_eigh(x.double(), floor).to(x.dtype)


def polar_express(x, steps=7):
    """Return X after that many quintics."""
    wide = x if x.shape[-2] <= x.shape[-1] else x.mT
    wide = wide / torch.linalg.norm(wide)
    published = minimax.damped_polar_express()
    for a, b, c in (*published, *published[-1:] * (steps - len(published))):
        gram = wide @ wide.mT
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return wide if x.shape[-2] <= x.shape[-1] else wide.mT


def bare_loop(polynomials):
    """Return a function that applies odd polynomials to a square NumPy matrix, and nothing else."""

    def run(x):
        gram = x @ x.T
        square = gram @ gram.T
        scale = (square * square).sum() ** 0.125
        x, gram = x / scale, gram / scale**2
        for i, (first, *rest) in enumerate(polynomials):
            gram = x @ x.T if i else gram
            power, bracket = gram, rest[0] * gram
            for coefficient in rest[1:]:
                power = power @ gram
                bracket += coefficient * power
            x = first * x + bracket @ x
        return x

    return run
