"""How well rows of numbers tell classes apart: a linear probe, and the clusters of k-means."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ..seeds import shortened

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # scikit-learn's C, the inverse of the L2 penalty's strength
RESTARTS = 10  # of k-means

Rows = NDArray[np.float64]  # (objects, numbers per object)
Labels = NDArray[np.int64]  # (objects,)
Folds = list[tuple[NDArray[np.int64], NDArray[np.int64]]]  # rows to fit and rows to test, by fold


def linear_probe(
    fit_rows: Rows, fit_labels: Labels, folds: Folds, test_rows: Rows, test_labels: Labels
) -> dict[str, float]:
    """Return the accuracy of a linear probe, and the accuracy's standard error."""
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2_000))
    search = GridSearchCV(probe, {"logisticregression__C": PENALTIES}, cv=folds)
    accuracy = float(search.fit(fit_rows, fit_labels).score(test_rows, test_labels))
    variance = accuracy * (1 - accuracy) / len(test_labels)
    return {"accuracy": accuracy, "standard_error": math.sqrt(variance)}


def cluster(rows: Rows, labels: Labels, num_clusters: int, seed: int) -> dict[str, float]:
    """Return how well the clusters of k-means agree with the classes."""
    seed = seed if seed < 2**32 else shortened(seed, bits=32)  # scikit-learn takes no more
    clusters = KMeans(num_clusters, n_init=RESTARTS, random_state=seed).fit_predict(rows)
    return {
        "purity": float(contingency_matrix(labels, clusters).max(axis=0).sum() / len(labels)),
        "mutual_information": float(normalized_mutual_info_score(labels, clusters)),
        "rand_index": float(adjusted_rand_score(labels, clusters)),
    }
