"""Kernels of the operators in Triton: each module registers those of one operator, see :mod:`equireann_pyg.ops.gpu`."""
