"""Uses the libraries that methods are made of, with threads."""

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from xgboost import XGBClassifier


class Model:
    def fit(self, train):
        data = train.data
        options = {"random_state": 1, "max_depth": 3}
        self.trees = HistGradientBoostingClassifier(max_iter=5, **options)
        self.boosted = XGBClassifier(n_estimators=5, n_jobs=2, **options)
        for model in (self.trees, self.boosted):
            model.fit(data[train.features], data["label"], sample_weight=data["weights"])

    def predict(self, test):
        scores = [m.predict_proba(test)[:, 1] for m in (self.trees, self.boosted)]
        mean, half = pd.Series(np.concatenate(scores, dtype=np.float64)).agg(["mean", "std"])
        return {"mu_hat": mean, "lower": mean - half, "upper": mean + half}
