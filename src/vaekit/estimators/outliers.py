"""An outlier detector around a VAE, with PyOD's names or scikit-learn's."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from .. import storage
from ..data.frames import as_table, take
from ..data.unknown import UNKNOWN, Unknown
from ..evaluation.anomaly import SCORES, p_values
from ..io.save_load import DETECTOR, DETECTOR_FILE, write
from ..recipes import table
from ..settings import Instance, Number, Rule, Whole, check_settings, optional
from ..sklearn_compat import not_fitted
from ..suggest import nearest
from ..training.splitting import cells, schema_of
from .base import Parameters
from .vae import VAE

STYLES = ("pyod", "sklearn")
RULES: dict[str, Rule] = {
    "vae": optional(Instance((VAE,), 'an estimator, such as VAE(recipe="table")')),
    "contamination": Number(0.0, 0.5, open_low=True, words="a share of the rows in (0, 0.5]"),
    "calibration": Number(0.0, 1.0, open_low=True, open_high=True, words="a share of the rows in (0, 1)"),
    "draws": Whole(1),
    "unknown": UNKNOWN,
    "seed": Whole(0),
}
"""The settings of `OutlierDetector`; `by` and `style` have checks of their own."""


class OutlierDetector(Parameters):
    """Anomaly detection with a VAE that is fitted to rows of which most are normal.

    Parameters
    ----------
    vae : VAE or None, default=None
        The model, of which `fit` trains a copy. ``None`` is one of the recipe ``table`` with two latents and a prior
        N(0, I), which reads missing cells. Its settings are reached as ``vae__epochs``.
    by : {"bound", "elbo", "distortion", "error", "typicality"}, default="bound"
        The anomaly score, see `vaekit.evaluation.anomaly.anomaly_score`.
    contamination : float, default=0.1
        Share of the rows of fit that `predict` calls anomalous, in (0, 0.5].
    calibration : float, default=0.2
        Share of the rows that the model is not trained on. `p_values` and the typicality rest on them.
    style : {"pyod", "sklearn"}, default="pyod"
        ``"pyod"``: `decision_function` is higher for anomalous rows and `predict` returns 1 for them, 0 for others.
        ``"sklearn"``: `decision_function` is below 0 for anomalous rows and `predict` returns -1 for them, 1 else.
    draws : int, default=100
        Draws of z per row.
    unknown : {"missing", "error"}, default="missing"
        What to do with values of a table that fit did not see. ``"missing"`` treats the cell as missing, with one
        warning, and adds ``log(n + 1)`` to the score, n the rows of fit. ``"error"``, here or in `vae`, refuses the
        rows.
    seed : int, default=0
        Seed of the scores and of the split.

    Attributes
    ----------
    vae_ : VAE
        The fitted model.
    decision_scores_ : ndarray of shape (N,)
        Anomaly scores of the rows of fit.
    threshold_ : float
        The score above which a row is anomalous.
    labels_ : ndarray of shape (N,)
        Labels of the rows of fit, as `predict` returns them.
    calibration_ : ndarray
        Scores of the rows that the model was not trained on.
    n_features_in_, feature_names_in_ : int, ndarray
        As in scikit-learn.

    Examples
    --------
    >>> detector = vk.OutlierDetector().fit(table)
    >>> table[detector.predict(table) == 1]
    """

    inner = "vae"

    def __init__(
        self,
        vae: VAE | None = None,
        *,
        by: str = "bound",
        contamination: float = 0.1,
        calibration: float = 0.2,
        style: str = "pyod",
        draws: int = 100,
        unknown: Unknown = "missing",
        seed: int = 0,
    ):
        self.vae = vae
        self.by = by
        self.contamination = contamination
        self.calibration = calibration
        self.style = style
        self.draws = draws
        self.unknown = unknown
        self.seed = seed

    # -- fitting -------------------------------------------------------------------------------------

    def fit(self, x: object, y: object = None) -> Self:
        """Fit to rows, of which most are normal.

        Parameters
        ----------
        x : array or table of N rows
            The rows.
        y : object
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If a setting has a value that it cannot have.
        """
        self.check()
        if hasattr(x, "toarray"):
            raise TypeError("sparse input is not supported by OutlierDetector: pass x.toarray()")
        table = as_table(x)
        vae = self._vae()
        whole = table if table is not None else _array(*cells(vae.config(), x))  # refuses what is no data
        count = whole.num_rows if hasattr(whole, "num_rows") else len(whole)
        if count < 2:
            raise ValueError(f"n_samples={count}: expected at least two rows, one of them to calibrate by")
        out = np.zeros(count, dtype=bool)
        held = min(max(round(self.calibration * count), 1), count - 1)
        out[np.random.default_rng([self.seed, 2**31 + 2]).permutation(count)[:held]] = True
        part = partial(take, table) if table is not None else whole.__getitem__
        schema = {} if table is None else {"schema": schema_of(vae.config(), table, ~out)}
        self._adopt(vae.fit(part(~out), **schema))
        bounds = self._scored(part(out), "bound") if self.by == "typicality" else None
        self.entropy_ = None if bounds is None else float(bounds.mean())
        self.calibration_ = self._scored(part(out), self.by)
        self.decision_scores_ = self._scored(whole, self.by)
        self.threshold_ = float(np.quantile(self.decision_scores_, 1 - self.contamination))
        self.labels_ = self._labels(self.decision_scores_)
        return self

    def check(self) -> None:
        """Raise ValueError for settings that `fit` does not accept."""
        check_settings(self, RULES)
        if self.by not in SCORES:
            raise ValueError(f"by={self.by!r}{nearest(str(self.by), SCORES)}: expected one of {', '.join(SCORES)}")
        if self.style not in STYLES:
            raise ValueError(f"style={self.style!r}: expected one of {', '.join(STYLES)}")

    def _vae(self) -> VAE:
        if self.vae is None:
            return VAE(2, recipe=table(flow=0), missing=True, unknown=self.unknown, seed=self.seed)
        vae = self.vae.__sklearn_clone__()
        return vae.set_params(unknown="error") if self.unknown == "error" else vae

    def _adopt(self, vae: VAE) -> None:
        self.vae_, self.n_features_in_ = vae, vae.n_features_in_
        vars(self).pop("feature_names_in_", None)
        if hasattr(vae, "feature_names_in_"):
            self.feature_names_in_ = vae.feature_names_in_

    def restore(
        self, vae: VAE, threshold: float, entropy: float | None, decision_scores: NDArray, calibration: NDArray
    ) -> Self:
        """Take over what `fit` learned, as `load` reads it from files.

        Parameters
        ----------
        vae : VAE
            The fitted model.
        threshold : float
            The score above which a row is anomalous.
        entropy : float or None
            Mean score of normal rows, for the typicality.
        decision_scores, calibration : ndarray
            Scores of the rows of fit, and of the rows held out.

        Returns
        -------
        self
        """
        self._adopt(vae)
        self.threshold_, self.entropy_ = threshold, entropy
        self.decision_scores_, self.calibration_ = decision_scores, calibration
        self.labels_ = self._labels(decision_scores)
        return self

    def save(self, path: str | Path, *, fingerprints: bool = True) -> None:
        """Write the fitted detector into a folder; what was there is replaced.

        `vaekit.load` reads it back: the VAE, the threshold, the scores of fit and the calibration, nothing pickled.

        Parameters
        ----------
        path : str or Path
            The folder. It is also the folder of a VAE for the command line.
        fingerprints : bool, default=True
            Whether to save fingerprints of training rows; see `VAE.save`.

        Raises
        ------
        NotFittedError
            If the detector has not been fitted.
        """
        write(self._fitted().fitted_, path, self._write_scores, fingerprints=fingerprints)

    def _write_scores(self, path: Path) -> dict[str, Any]:
        """Writes the scores of the rows of fit; the section of `config.json` that goes with them."""
        scores, file = (
            {"decision_scores": self.decision_scores_, "calibration": self.calibration_},
            path / DETECTOR_FILE,
        )
        storage.write_tensors(file, {n: torch.from_numpy(np.array(v, np.float64)) for n, v in scores.items()})
        section = {
            "settings": {n: storage.describe(v, n) for n, v in self.get_params(deep=False).items() if n != "vae"},
            "own_vae": self.vae is not None,
            "threshold": self.threshold_,
            "entropy": self.entropy_,
            "scores_sha256": storage.file_digest(file),
        }
        return {DETECTOR: section}

    def _fitted(self) -> VAE:
        if not hasattr(self, "threshold_"):
            raise not_fitted("this OutlierDetector is not fitted yet: call fit(x) first")
        return self.vae_

    # -- scores --------------------------------------------------------------------------------------

    def _scored(self, x: object, by: str) -> NDArray:
        entropy = getattr(self, "entropy_", None)
        return self.vae_.anomaly_score(x, by, draws=self.draws, seed=self.seed, entropy=entropy)

    def anomaly_score(self, x: object) -> NDArray:
        """Score rows: higher is more anomalous, in either style.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
            The scores. The score of a row depends on the row alone. Scored among other rows it differs by float32
            rounding only, by less than 1e-5 of its size.
        """
        self._fitted()
        return self._scored(x, self.by)

    def score_samples(self, x: object) -> NDArray:
        """Return minus the anomaly score: higher is more normal, as of scikit-learn's detectors.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
        """
        return -self.anomaly_score(x)

    def decision_function(self, x: object) -> NDArray:
        """Return the anomaly score; in scikit-learn's style, how far it lies below the threshold.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
        """
        scores = self.anomaly_score(x)
        return scores if self.style == "pyod" else self.threshold_ - scores

    def predict(self, x: object) -> NDArray:
        """Return 1 for anomalous rows and 0 for others; in scikit-learn's style -1 and 1.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
        """
        return self._labels(self.anomaly_score(x))

    def fit_predict(self, x: object, y: object = None) -> NDArray:
        """Fit to rows and return their labels.

        Parameters
        ----------
        x : array or table of N rows
            The rows.
        y : object
            Ignored.

        Returns
        -------
        ndarray of shape (N,)
        """
        return self.fit(x).labels_

    @property
    def offset_(self) -> float:
        """`score_samples - offset_` is scikit-learn's decision function."""
        self._fitted()
        return -self.threshold_

    def p_values(self, x: object) -> NDArray:
        """Return conformal p-values, small for anomalous rows; see `vaekit.evaluation.anomaly.p_values`.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
        """
        return p_values(self.anomaly_score(x), self.calibration_)

    def outlier_probability(self, x: object) -> NDArray:
        """Return 1 - p, the share of normal rows that are less anomalous.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N,)
        """
        return 1 - self.p_values(x)

    def explain(self, x: object) -> Any:
        """Share the score of each row among its cells; see `VAE.explain`.

        Parameters
        ----------
        x : array or table of N rows
            Rows like those of `fit`.

        Returns
        -------
        ndarray of shape (N, ...) or table
        """
        return self._fitted().explain(x, self.by, draws=self.draws, seed=self.seed)

    def _labels(self, scores: NDArray) -> NDArray:
        odd = scores > self.threshold_
        return odd.astype(int) if self.style == "pyod" else np.where(odd, -1, 1)

    # -- manners -------------------------------------------------------------------------------------

    def _own_inner(self) -> VAE:
        if self.vae is None:
            raise ValueError("vae__* settings need a VAE: OutlierDetector(VAE(...)), or set_params(vae=...) first")
        return self.vae.__sklearn_clone__()

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(
            estimator_type="outlier_detector" if self.style == "sklearn" else None,
            target_tags=TargetTags(required=False),
            input_tags=InputTags(two_d_array=True, three_d_array=True, allow_nan=self.vae is None or self.vae.missing),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "threshold_")

    def __repr__(self) -> str:
        own = {n: v for n, v in self.get_params(deep=False).items() if v is not self._defaults()[n]}
        shown = [f"{n}={v!r}" for n, v in own.items() if isinstance(v, VAE) or v != self._defaults()[n]]
        return f"OutlierDetector({', '.join(shown)})"


def _array(rows: object, dtype: str) -> NDArray:
    """Checked rows as an array of the type that they came in."""
    return np.asarray(rows).astype(dtype, copy=False)
