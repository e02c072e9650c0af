"""Say how an answer differs from what was expected, in words that help to find the mistake."""

import numpy as np

TOLERANCE = 1e-6


def hint(actual: np.ndarray, expected: np.ndarray) -> str:
    """A guess at the cause of a difference between two arrays of one shape; empty if there is none."""
    a, e = actual.astype(float).ravel(), expected.astype(float).ravel()
    size = e @ e
    if size == 0:
        return ": zero is expected"
    if not a.any():
        return ": it is zero everywhere"
    factor = (a @ e) / size
    if np.abs(a - factor * e).max() <= TOLERANCE * np.abs(a).max():
        return ": the sign is wrong" if abs(factor + 1) < TOLERANCE else (
            f": it is {factor:.4g} times what is expected; is a factor missing, or one too many?")
    if actual.ndim > 1 and actual.shape[-1] == actual.shape[-2]:
        if np.allclose(np.swapaxes(actual, -1, -2), expected, rtol=TOLERANCE):
            return ": it is transposed"
    wrong = ~np.isclose(a, e, rtol=TOLERANCE, atol=TOLERANCE * np.abs(e).max())
    return f": {wrong.sum()} of {wrong.size} numbers are wrong" if wrong.mean() < 0.9 else ""


def difference(what: str, actual, expected, tolerance: float = TOLERANCE) -> str | None:
    """None if the two agree, else one line that says where and how they differ."""
    if isinstance(expected, dict):
        if not isinstance(actual, dict):
            return f"{what}: a {type(actual).__name__}, expected a dict with the keys {sorted(expected)}"
        if actual.keys() != expected.keys():
            missing, extra = sorted(expected.keys() - actual.keys()), sorted(actual.keys() - expected.keys())
            return f"{what}: missing keys {missing}, unexpected keys {extra}"
        pairs = [(f"gradient of {key}" if what.startswith("gradient") else f"{what}[{key!r}]", key)
                 for key in expected]
        return next((d for name, key in pairs
                     if (d := difference(name, actual[key], expected[key], tolerance))), None)
    if isinstance(expected, tuple | list):
        if not isinstance(actual, tuple | list) or len(actual) != len(expected):
            got = f"a {type(actual).__name__}"
            if isinstance(actual, tuple | list):
                got = f"{len(actual)} values"
            return f"{what}: {got}, expected {len(expected)} values"
        return next((d for i, (a, e) in enumerate(zip(actual, expected, strict=True))
                     if (d := difference(what if isinstance(e, dict) else f"{what}, value {i}", a, e,
                                         tolerance))), None)
    if isinstance(expected, np.ndarray | np.generic | int | float) and not isinstance(expected, bool):
        return of_numbers(what, actual, np.asarray(expected), tolerance)
    if isinstance(expected, np.random.Generator):          # what was drawn shows in the results
        return None
    if hasattr(expected, "__dict__") and type(actual) is type(expected):
        return difference(what, vars(actual), vars(expected), tolerance)
    return None if actual == expected else f"{what}: {str(actual)[:60]!r}, expected {str(expected)[:60]!r}"


def of_numbers(what: str, actual, expected: np.ndarray, tolerance: float) -> str | None:
    """The same for arrays and numbers."""
    given = np.asarray(actual) if not isinstance(actual, dict | str) else np.asarray(None)
    if given.dtype.kind not in "biuf":
        return f"{what}: a {type(actual).__name__}, expected numbers of shape {expected.shape}"
    actual = given
    if actual.shape != expected.shape:
        return f"{what}: shape {actual.shape}, expected {expected.shape}"
    if not expected.size:
        return None
    if not np.isfinite(actual[np.isfinite(expected)]).all():
        return f"{what}: {np.sum(~np.isfinite(actual))} of {actual.size} numbers are not finite"
    finite = np.isfinite(expected)
    if not np.array_equal(actual[~finite], expected[~finite], equal_nan=True):
        return f"{what}: infinite or missing numbers stand in other places than expected"
    scale = max(np.abs(expected[finite]).max(initial=0.0), np.abs(actual[finite]).max(initial=0.0))
    error = np.abs(actual[finite] - expected[finite].astype(float)).max(initial=0.0)
    if error <= tolerance * max(scale, 1e-300) or error < 1e-12:
        return None
    why = hint(actual, expected) if finite.all() else ""
    return f"{what}: relative error {error / scale:.2g}{why}"
