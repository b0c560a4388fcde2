"""The published updates, one trial at a time in plain NumPy: normal equations, no kernels, nothing of the package."""

import numpy as np


def residual_matrix(a, y, scale, z):
    return (scale * a.T @ (scale * a @ z.ravel() - y)).reshape(z.shape)


def loss(a, y, scale, z):
    r = scale * a @ z.ravel() - y
    return r @ r / 2


def divided(matrix, gram):
    return np.linalg.solve(gram, matrix.T).T


def scaled(a, y, scale, f, g, eta, damping=0.0):
    eye = damping * np.eye(f.shape[1])
    if g is None:
        r = residual_matrix(a, y, scale, f @ f.T)
        return f - eta * divided((r + r.T) / 2 @ f, f.T @ f + eye), None
    r = residual_matrix(a, y, scale, f @ g.T)
    return f - eta * divided(r @ g, g.T @ g + eye), g - eta * divided(r.T @ f, f.T @ f + eye)


def preconditioned(a, y, scale, f, g, eta):
    eye = np.eye(f.shape[1])
    if g is None:
        r = residual_matrix(a, y, scale, f @ f.T)
        gram = f.T @ f + np.sqrt(loss(a, y, scale, f @ f.T)) * eye
        return f - eta * divided((r + r.T) / 2 @ f, gram), None
    r = residual_matrix(a, y, scale, f @ g.T)
    gram = f.T @ f + g.T @ g + np.sqrt(loss(a, y, scale, f @ g.T)) * eye
    return f - eta * divided(r @ g, gram), g - eta * divided(r.T @ f, gram)


def gauss_newton(a, y, scale, f, g, eta, rcond=1e-10):
    f = f - eta * residual_matrix(a, y, scale, f @ g.T) @ g @ np.linalg.pinv(g.T @ g, rcond=rcond, hermitian=True)
    g = g - eta * residual_matrix(a, y, scale, f @ g.T).T @ f @ np.linalg.pinv(f.T @ f, rcond=rcond, hermitian=True)
    return f, g


def alternating(a, y, scale, f, g, eta):
    f = f - eta * divided(residual_matrix(a, y, scale, f @ g.T) @ g, g.T @ g)
    return f, g - eta * divided(residual_matrix(a, y, scale, f @ g.T).T @ f, f.T @ f)
