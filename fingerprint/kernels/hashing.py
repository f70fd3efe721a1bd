"""Hashes and fixed-point arithmetic for the kernels: integers only, the same on every machine."""

import numpy as np
from numba import types, uint64
from numba.extending import intrinsic

from fingerprint._jit import inner, kernel

__all__ = ["FNV_BASIS", "FNV_PRIME", "hash_spans", "log2_fixed", "mix", "rank"]

FNV_BASIS = np.uint64(14695981039346656037)
FNV_PRIME = np.uint64(1099511628211)
_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_S33 = np.uint64(33)


@intrinsic
def _leading_zeros(typing_context, value):  # type: ignore[no-untyped-def]
    """Count leading zero bits of a uint64 (64 for zero)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ctlz(args[0], context.get_constant(types.boolean, 0))

    return types.uint64(types.uint64), codegen


@inner
def mix(value):  # type: ignore[no-untyped-def]
    """Finalise a 64-bit hash (the finaliser of MurmurHash3, A. Appleby)."""
    value = uint64(value)
    value = (value ^ (value >> _S33)) * _M1
    value = (value ^ (value >> _S33)) * _M2
    return value ^ (value >> _S33)


@inner
def rank(value):  # type: ignore[no-untyped-def]
    """Position of the first set bit from the top, 1 to 65: the register value of HyperLogLog."""
    return np.int64(_leading_zeros(uint64(value))) + 1


@inner
def log2_fixed(value):  # type: ignore[no-untyped-def]
    """Base-2 logarithm of an integer >= 1 in 1/256, linear between powers of two (Mitchell, 1962)."""
    if value < 1:
        return 0
    exponent = 63 - np.int64(_leading_zeros(uint64(value)))
    mantissa = (value << 8) >> exponent if exponent < 54 else value >> (exponent - 8)
    return (exponent << 8) + mantissa - 256


@kernel
def hash_spans(data, offsets):  # type: ignore[no-untyped-def]
    """Hash each span of a byte buffer: ``uint8[b], int[m+1] -> uint64[m]`` (FNV-1a, finalised)."""
    out = np.empty(len(offsets) - 1, np.uint64)
    for i in range(len(out)):
        value = FNV_BASIS
        for k in range(offsets[i], offsets[i + 1]):
            value = (value ^ uint64(data[k])) * FNV_PRIME
        out[i] = mix(value)
    return out
