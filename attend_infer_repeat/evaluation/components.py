"""Principal components, by scikit-learn, of the codes or pixels of objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA


def principal_components(rows: NDArray[np.floating], num: int) -> PCA:
    """Fit a principal component analysis.

    Each component's largest weight is positive, so that equal rows have equal components, whatever
    the version of scikit-learn.

    Args:
        rows: (M, size), at least two that are not all equal.
        num: how many components; fewer if there are fewer rows or numbers in a row.
    """
    pca = PCA(min(num, *rows.shape), svd_solver="full").fit(rows.astype(np.float64))
    largest = np.abs(pca.components_).argmax(axis=1)
    signs = np.sign(pca.components_[np.arange(len(largest)), largest])
    pca.components_ *= signs[:, None]
    return pca
