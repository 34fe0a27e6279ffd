"""Keeps the training set and asks it for shifted events in every predict."""


class Model:
    answer = {}  # the same dict is returned each time

    def fit(self, train):
        self.train = train

    def predict(self, test):
        up = self.train.shift(scale=1.01)
        data = self.train.data
        self.answer["mu_hat"] = float(len(test) / data["weights"].sum())
        self.answer["lower"] = self.answer["mu_hat"] - float(abs(up["x"].mean() - data["x"].mean()))
        self.answer["upper"] = self.answer["mu_hat"] + 1.0
        return self.answer
