"""G.722 at 64 kbit/s to samples: recordings of telephone systems at 16 kHz.

Boundary: bytes in, samples out; no I/O.
Invariants: integer arithmetic as the standard prescribes, so that every machine decodes to the same samples.
Source: ITU-T G.722 (09/2012), clauses 5 and 6; names in capitals are the blocks of its figures.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

RATE_HZ = 16_000

Integers = npt.NDArray[np.int64]

# Inverse quantisers (tables 14 to 17 of the standard): of 6 and 4 bits for the lower band, of 2 bits for the higher.
_QM6 = np.array([
    -136, -136, -136, -136, -24808, -21904, -19008, -16704, -14984, -13512, -12280, -11192, -10232, -9360, -8576, -7856,
    -7192, -6576, -6000, -5456, -4944, -4464, -4008, -3576, -3168, -2776, -2400, -2032, -1688, -1360, -1040, -728,
    24808, 21904, 19008, 16704, 14984, 13512, 12280, 11192, 10232, 9360, 8576, 7856, 7192, 6576, 6000, 5456,
    4944, 4464, 4008, 3576, 3168, 2776, 2400, 2032, 1688, 1360, 1040, 728, 432, 136, -432, -136,
])  # fmt: skip
_QM4 = np.array([
    0, -20456, -12896, -8968, -6288, -4240, -2584, -1200, 20456, 12896, 8968, 6288, 4240, 2584, 1200, 0,
])  # fmt: skip
_QM2 = np.array([-7408, -1616, 7408, 1616])
# Multipliers of the scale factors, by code word.
_LOW_STEPS = np.array([-60, 3042, 1198, 538, 334, 172, 58, -30, 3042, 1198, 538, 334, 172, 58, -30, -60])
_HIGH_STEPS = np.array([798, -214, 798, -214])
_LOG_TO_LINEAR = np.array([
    2048, 2093, 2139, 2186, 2233, 2282, 2332, 2383, 2435, 2489, 2543, 2599, 2656, 2714, 2774, 2834,
    2896, 2960, 3025, 3091, 3158, 3228, 3298, 3371, 3444, 3520, 3597, 3676, 3756, 3838, 3922, 4008,
])  # fmt: skip
_MIRROR_FILTER = np.array([3, -11, 12, 32, -210, 951, 3876, -805, 362, -156, 53, -11])


def decode(encoded: bytes) -> npt.NDArray[np.int16]:
    """Samples at RATE_HZ, shape (2 * bytes,): every byte holds two."""
    return _decoded(np.frombuffer(encoded, np.uint8).astype(np.int64)).astype(np.int16)  # type: ignore[no-any-return]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _clamped(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _saturated(value: int) -> int:
    return min(max(value, -32768), 32767)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _scale(log_factor: int, shift: int, table: Integers) -> int:
    """SCALEL, SCALEH: the linear scale factor of a logarithmic one."""
    mantissa = int(table[(log_factor >> 6) & 31])
    exponent = shift - (log_factor >> 11)
    return (mantissa << -exponent if exponent < 0 else mantissa >> exponent) << 2


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _adapt_poles(poles: Integers, partial: Integers) -> None:
    """UPPOL2 and UPPOL1: the two pole coefficients follow the signs of the last partial reconstructions."""
    now, before, earlier = partial[0] >> 15, partial[1] >> 15, partial[2] >> 15
    turn = _saturated(poles[0] << 2)
    turn = min(-turn if now == before else turn, 32767)
    second = (128 if now == earlier else -128) + (turn >> 7) + ((poles[1] * 32512) >> 15)
    poles[1] = _clamped(second, -12288, 12288)
    first = _saturated((192 if now == before else -192) + ((poles[0] * 32640) >> 15))
    limit = _saturated(15360 - poles[1])
    poles[0] = _clamped(first, -limit, limit)


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _adapt_zeros(zeros: Integers, differences: Integers, difference: int) -> None:
    """UPZERO: the six zero coefficients follow the signs of the last differences."""
    step = 0 if difference == 0 else 128
    for place in range(6):
        same = (differences[place] >> 15) == (difference >> 15)
        zeros[place] = _saturated((step if same else -step) + ((zeros[place] * 32640) >> 15))


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _predict(
    difference: int,
    estimate: Integers,
    poles: Integers,
    zeros: Integers,
    differences: Integers,
    partial: Integers,
    reconstructed: Integers,
) -> None:
    """BLOCK4: adapt the predictor of one band by a quantised difference, and predict its next sample.

    `estimate` is (of the next sample, its share of the zeros); the other arrays are the band's history, newest first.
    """
    reconstructed[2], reconstructed[1] = reconstructed[1], reconstructed[0]
    reconstructed[0] = _saturated(estimate[0] + difference)  # RECONS
    partial[2], partial[1] = partial[1], partial[0]
    partial[0] = _saturated(estimate[1] + difference)  # PARREC
    _adapt_poles(poles, partial)
    _adapt_zeros(zeros, differences, difference)
    for place in range(5, 0, -1):
        differences[place] = differences[place - 1]
    differences[0] = difference
    from_poles = 0
    for place in range(2):  # FILTEP
        from_poles += (poles[place] * _saturated(2 * reconstructed[place])) >> 15
    from_zeros = 0
    for place in range(6):  # FILTEZ
        from_zeros += (zeros[place] * _saturated(2 * differences[place])) >> 15
    estimate[1] = _saturated(from_zeros)
    estimate[0] = _saturated(_saturated(from_poles) + estimate[1])  # PREDIC


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _decoded(codes: Integers) -> Integers:
    estimate = np.zeros((2, 2), np.int64)
    poles = np.zeros((2, 2), np.int64)
    zeros = np.zeros((2, 6), np.int64)
    differences = np.zeros((2, 6), np.int64)
    partial = np.zeros((2, 3), np.int64)
    reconstructed = np.zeros((2, 3), np.int64)
    log_low, log_high, scale_low, scale_high = 0, 0, 32, 8
    history = np.zeros(24, np.int64)
    samples = np.zeros(2 * codes.size, np.int64)
    for index in range(codes.size):
        fine, coarse, high_code = codes[index] & 63, (codes[index] & 63) >> 2, codes[index] >> 6
        low = _clamped(estimate[0, 0] + ((scale_low * _QM6[fine]) >> 15), -16384, 16383)
        difference = (scale_low * _QM4[coarse]) >> 15
        log_low = _clamped(((log_low * 127) >> 7) + _LOW_STEPS[coarse], 0, 18432)
        scale_low = _scale(log_low, 8, _LOG_TO_LINEAR)
        _predict(difference, estimate[0], poles[0], zeros[0], differences[0], partial[0], reconstructed[0])
        difference = (scale_high * _QM2[high_code]) >> 15
        high = _clamped(estimate[1, 0] + difference, -16384, 16383)
        log_high = _clamped(((log_high * 127) >> 7) + _HIGH_STEPS[high_code], 0, 22528)
        scale_high = _scale(log_high, 10, _LOG_TO_LINEAR)
        _predict(difference, estimate[1], poles[1], zeros[1], differences[1], partial[1], reconstructed[1])
        history[:22] = history[2:].copy()
        history[22], history[23] = low + high, low - high
        first, second = 0, 0
        for tap in range(12):  # the receiving quadrature mirror filter
            second += history[2 * tap] * _MIRROR_FILTER[tap]
            first += history[2 * tap + 1] * _MIRROR_FILTER[11 - tap]
        samples[2 * index] = _saturated(first >> 11)
        samples[2 * index + 1] = _saturated(second >> 11)
    return samples
