"""What transformer and predictor have in common: kserve.Model with a life of its own, and the routes over it."""

import logging
from abc import abstractmethod
from typing import Any

import orjson
from kserve import InferRequest, Model
from kserve.model import InferenceVerb

from vigil.serving.http import Answer, Request, parse_json
from vigil.serving.layer import Route
from vigil.serving.metrics import Metrics
from vigil.serving.options import ServerOptions
from vigil.serving.state import ServerState
from vigil.serving.tensors import answer_of, request_from_rest

Headers = dict[str, str]


class Served(Model):  # type: ignore[misc]  # kserve is untyped
    """A kserve.Model that is loaded while its server is already up, and closed when it has drained."""

    def __init__(self, options: ServerOptions, metrics: Metrics) -> None:
        super().__init__(options.model_name)
        self.options = options
        self.metrics = metrics
        self.state = ServerState()

    @abstractmethod
    async def open(self) -> None:
        """Load everything; raise ContractError if it can never work."""

    @abstractmethod
    async def close(self) -> bool:
        """Finish what is still to be written, and return whether all of it was."""

    @abstractmethod
    def more_routes(self) -> dict[str, Route]:
        """Return the routes that only this server has, by path."""

    def routes(self) -> dict[str, Route]:
        """Return all routes by path."""
        v1, v2 = f"/v1/models/{self.name}", f"/v2/models/{self.name}"
        json_or_binary = ("application/json", "application/octet-stream")
        infer = Route("v2", "infer", self._infer, json_or_binary)
        routes = {
            f"{v1}:predict": Route("v1", "predict", self._predict),
            f"{v1}:explain": Route("v1", "explain", self._explain),
            f"{v2}/infer": infer,
            **self.more_routes(),
        }
        if self.options.model_version:
            routes[f"{v2}/versions/{self.options.model_version}/infer"] = infer
        return routes

    def load(self) -> bool:
        """Return whether the model is ready; the stock server asks for it to be loaded, which changes nothing here."""
        return self.state.loaded

    async def healthy(self) -> bool:
        """Return whether requests are answered."""
        return self.state.serving

    def start(self) -> None:
        """Do nothing: kserve would call the model ready before it is loaded."""

    def stop(self) -> None:
        """Do nothing: kserve would make the model unready while requests are under way."""

    def validate(self, payload: Any) -> Any:  # noqa: ANN401 - as in kserve
        """Return the payload: `preprocess` has checked it."""
        return payload

    async def _predict(self, request: Request) -> Answer:
        content, _ = await self(parse_json(await request.body()), request.trace)
        return Answer(orjson.dumps(content))

    async def _explain(self, request: Request) -> Answer:
        content, _ = await self(parse_json(await request.body()), request.trace, verb=InferenceVerb.EXPLAIN)
        return Answer(orjson.dumps(content))

    async def _infer(self, request: Request) -> Answer:
        asked: InferRequest = request_from_rest(await request.body(), request.headers, self.name)
        response, _ = await self(asked, request.trace)
        return answer_of(asked, response)


def protocol_of(payload: Any) -> str:  # noqa: ANN401
    """Return the protocol that a payload came by."""
    if isinstance(payload, InferRequest):
        return "grpc" if payload.from_grpc else "v2"
    return "v1"


logging.getLogger("kserve").addHandler(logging.NullHandler())
