"""What a bundle says of its features: enough to compile them again, to check a vector, and to put them into words."""

from pydantic import BaseModel, ConfigDict

from vigil.contracts.keys import ContentHash
from vigil.errors import ContractError
from vigil.features.compiler import Program, compile_features
from vigil.features.definitions import FeatureConfig, define


class FeatureInfo(BaseModel):
    """One feature of the vector, in words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    group: str
    unit: str
    windows: tuple[str, ...]
    default: float
    reason: str


class FeatureSchema(BaseModel):
    """The features of a model in the order of the vector."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    content_hash: ContentHash
    config: FeatureConfig
    features: tuple[FeatureInfo, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names in the order of the vector."""
        return tuple(feature.name for feature in self.features)

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        """The names of the features in each group."""
        names = dict.fromkeys(feature.group for feature in self.features)
        return {group: tuple(f.name for f in self.features if f.group == group) for group in names}

    def compile(self) -> Program:
        """Return the program, or raise ContractError if this version of Vigil computes the features otherwise."""
        program = compile_features(define(self.config))
        self.check(program.schema_hash)
        return program

    def check(self, schema_hash: ContentHash) -> None:
        """Raise ContractError if a vector was made under another schema."""
        if schema_hash != self.content_hash:
            raise ContractError(
                f"the vector has feature schema {schema_hash}, the model {self.content_hash}: "
                "deploy transformer and predictor of one version"
            )


def describe(config: FeatureConfig) -> FeatureSchema:
    """Return the schema of the features that `config` chooses."""
    program = compile_features(define(config))
    features = tuple(
        FeatureInfo(name=f.name, group=f.group, unit=f.unit, windows=f.windows, default=f.default, reason=f.reason)
        for f in program.features
    )
    return FeatureSchema(content_hash=program.schema_hash, config=config, features=features)
