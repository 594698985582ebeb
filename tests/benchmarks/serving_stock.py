"""What a user of stock KServe would run for the same models: sklearn server, xgboost server, a plain transformer.

`python -m tests.benchmarks.serving_stock ROLE FOLDER [flags of kserve.ModelServer]`. The two servers do what KServe's
own do: they load one model file and hand the instances of a request to its `predict`. The transformer computes the
features with Vigil's engine in memory and asks both over REST V1. It has no autoencoder (there is no stock server for
one), no reasons, no stored state and no decision log: all of that is in favour of the stock parts.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import xgboost as xgb
from kserve import InferenceRESTClient, Model, ModelServer
from kserve.inference_client import RESTConfig
from kserve.model_server import parser
from kserve.utils.utils import get_predict_input, get_predict_response

from tests.benchmarks.serving_model import GROUPS, Prepared
from vigil.contracts.events import Transaction
from vigil.features.definitions import FeatureConfig
from vigil.features.online import OnlineFeatures
from vigil.features.schema import describe
from vigil.features.states import hydrate
from vigil.features.store.memory import MemoryStore


class SklearnServed(Model):
    """A joblib file behind `predict`."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path

    def load(self) -> bool:
        """Load the file."""
        self._model = joblib.load(self._path)
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Return the forest's verdict on each row."""
        return get_predict_response(payload, self._model.predict(get_predict_input(payload)), self.name)


class XgboostServed(Model):
    """A booster file behind `predict`."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name)
        self._path = path

    def load(self) -> bool:
        """Load the file."""
        self._booster = xgb.Booster(params={"nthread": 1}, model_file=self._path)
        self.ready = True
        return self.ready

    def predict(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Return the probability of each row."""
        matrix = xgb.DMatrix(get_predict_input(payload), nthread=1)
        return get_predict_response(payload, self._booster.predict(matrix), self.name)


class PlainTransformer(Model):
    """Events to features, then both servers, then the mean of their scores."""

    def __init__(self, name: str, prepared: Prepared, hosts: dict[str, str]) -> None:
        super().__init__(name)
        schema = describe(FeatureConfig(groups=GROUPS))
        store = MemoryStore()
        hydrate(store, Path(prepared.states), schema.content_hash)
        self._features = OnlineFeatures(schema.compile(), store)
        self._columns = list(prepared.boosted_columns)
        self._hosts = hosts
        self._client = InferenceRESTClient(RESTConfig(protocol="v1"))
        self.ready = True

    def preprocess(self, payload: Any, headers: dict[str, str] | None = None) -> Any:
        """Return the features of each event."""
        events = [Transaction.model_validate(instance) for instance in payload["instances"]]
        return self._features.process_many(events).values

    async def predict(self, payload: Any, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """Ask both servers at the same time."""
        forest, boosted = await asyncio.gather(
            self._client.infer(f"http://{self._hosts['forest']}", {"instances": payload.tolist()}, model_name="forest"),
            self._client.infer(
                f"http://{self._hosts['boosted']}",
                {"instances": payload[:, self._columns].tolist()},
                model_name="boosted",
            ),
        )
        outliers = np.array(forest["predictions"]) < 0
        scores = (outliers + np.array(boosted["predictions"])) / 2
        return {"predictions": [{"score": score, "alert": score > 0.5} for score in scores.tolist()]}


def main(role: str, folder: Path) -> None:
    """Serve one role; the ports of the others follow as `--forest HOST:PORT` and `--boosted HOST:PORT`."""
    parser.add_argument("--forest", default="")
    parser.add_argument("--boosted", default="")
    arguments = parser.parse_args(sys.argv[3:])
    prepared = Prepared.read(folder)
    model: Model
    if role == "transformer":
        hosts = {"forest": arguments.forest, "boosted": arguments.boosted}
        model = PlainTransformer("bench", prepared, hosts)
    else:
        served = {"forest": SklearnServed, "boosted": XgboostServed}[role]
        model = served(role, prepared.forest if role == "forest" else prepared.boosted)
        model.load()
    ModelServer(
        http_port=arguments.http_port, grpc_port=arguments.grpc_port, workers=1, enable_grpc=arguments.enable_grpc
    ).start([model])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
