"""The shards that a server has at hand: a few in memory, the one that was not asked for longest makes room."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vigil.contracts.artifacts import MANIFEST
from vigil.contracts.keys import ContentHash, ModelName, ModelVersion
from vigil.errors import ContractError
from vigil.fleet.bundled import SHARDS, UNREGISTERED, live_models, read_shard, shard_of
from vigil.fleet.live import LiveShard, open_live
from vigil.registry.bundle import Bundle, load_bundle, parse_manifest
from vigil.registry.registry import Registry


@dataclass(frozen=True)
class Address:
    """Where a shard lies. Its number is in the name of its model; a bundle that is served alone has all sites."""

    model: ModelName
    uri: str
    bundle: ContentHash | None
    version: ModelVersion
    shards: int

    @property
    def number(self) -> int:
        """The number of the shard."""
        tail = self.model.rpartition("-")[2]
        return int(tail) if tail.isdigit() else 0


List = Callable[[], list[Address]]


def in_folder(folder: str, bundle: str | None = None) -> list[Address]:
    """Return the bundle in a folder or at gs://, or the bundles in the folders below; only `bundle` if it is given."""
    below = [] if folder.startswith("gs://") else sorted(path.parent for path in Path(folder).glob(f"*/{MANIFEST}"))
    places = [str(path) for path in below] or [folder]
    found = []
    for place in places:
        if place.startswith("gs://"):
            metadata = load_bundle(place).metadata
        else:
            manifest = Path(place) / MANIFEST
            if not manifest.is_file():
                raise ContractError(f"{place} is no bundle of a shard, and holds none: give --model_dir or --fleet")
            _, metadata, _ = parse_manifest(manifest.read_bytes(), place)
        shards = int(metadata.parameters.get(SHARDS) or 1)
        wanted = None if bundle is None else ContentHash(bundle)
        found.append(Address(ModelName(metadata.model), place, wanted, UNREGISTERED, shards))
    return found


def in_production(registry: Registry, fleet: str) -> list[Address]:
    """Return the live shards of a fleet."""
    found = []
    for model in live_models(registry, fleet):
        state = registry.state(model)
        version = state.version(ModelVersion("production"))
        shards = int(version.registration.metadata.parameters.get(SHARDS) or 1)
        ref = registry.resolve(model)
        found.append(Address(model, ref.uri, ref.hash, version.version, shards))
    if not found:
        raise ContractError(f"no shard of {fleet} is live: run `vigil pipeline run site_models`")
    return found


class Shelf:
    """Finds the shard of a site; one thread at a time."""

    def __init__(self, addresses: List, folder: Path, most: int, public_key: Path | None = None) -> None:
        self._list, self._folder, self._most, self._public_key = addresses, folder, most, public_key
        self._addresses = {one.number: one for one in addresses()}
        self._open: OrderedDict[int, LiveShard] = OrderedDict()
        self.loads = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def numbers(self) -> list[int]:
        """The numbers of all shards."""
        return sorted(self._addresses)

    @property
    def opened(self) -> list[LiveShard]:
        """The shards in memory."""
        return list(self._open.values())

    def number_of(self, site: str) -> int:
        """Return the number of the shard that a site belongs to; where there is none, that of one that serves it."""
        if len(self._addresses) == 1:
            return next(iter(self._addresses))
        number = shard_of(site, next(iter(self._addresses.values())).shards)
        return number if number in self._addresses else min(self._addresses)

    def shard(self, number: int) -> LiveShard:
        """Return a shard, loaded and verified if it is not in memory."""
        found = self._open.get(number)
        if found is None:
            while len(self._open) >= self._most:
                self._open.popitem(last=False)[1].close()
            address = self._addresses[number]
            bundle: Bundle = load_bundle(address.uri, public_key=self._public_key, expected_hash=address.bundle)
            found = self._open[number] = open_live(read_shard(bundle, address.version), self._folder)
            self.loads += 1
        self._open.move_to_end(number)
        return found

    def refresh(self) -> list[int]:
        """Look for new versions, and return the numbers of the shards that changed; their sites keep their states."""
        now = {one.number: one for one in self._list()}
        changed = [number for number in now if self._addresses.get(number) != now[number]]
        for number in [*changed, *(set(self._addresses) - set(now))]:
            if (gone := self._open.pop(number, None)) is not None:
                gone.close()
        self._addresses = now
        return changed

    def close(self) -> None:
        """Write the state of every shard in memory."""
        while self._open:
            self._open.popitem()[1].close()
