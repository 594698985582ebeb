"""An online detector for one stream of values: unknown unit, frequency and shape, no labels, nothing tuned per stream.

Each value is asked seven questions: is it new, linearly and on a logarithmic scale; is it, or its short mean, new at
this time of day; is the sequence that it ends new; is it off the daily profile; has the mix of values changed. «New» is
the distance from the nearest of what was seen before, as in distance-based and conformal detection (Knorr and Ng 1998;
Laxhammar and Falkman 2014) and in discords (Keogh et al. 2005); mixes are compared by relative entropy (Wang et al.
2011).

An answer becomes comparable between questions and streams by its rarity: how many blocks of the stream's own past held
one as large. Counting blocks, not values, makes an anomaly one event, however long it lasted; counting them, not taking
their share, makes a record a record in a short and in a long stream. The rarities are combined by a power mean, whose
own rarity is the score: a stream in which many things are new all the time is held to a higher standard. In its first
few hundred values nearly everything is rare: let it see them before heeding its scores.

After an alarm the stream rests for a share of its age: less than clearly rarer values score 0, so that an anomaly is
told once, when it begins. Everything is causal: a score depends on the value and those before it alone.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vigil.clock import DAY, SECOND
from vigil.errors import ContractError
from vigil.fleet.streams import kernel
from vigil.fleet.streams.settings import StreamSettings

Floats = NDArray[np.float64]


@dataclass(eq=False)
class StreamDetector:
    """Scores a stream value by value and remembers it; whole, in pieces or one by one, the scores are the same."""

    settings: StreamSettings
    memory: kernel.Memory

    @classmethod
    def fresh(cls, settings: StreamSettings | None = None) -> "StreamDetector":
        """Return a detector that has seen nothing."""
        settings = settings or StreamSettings()
        return cls(settings, _nothing(settings.memory))

    @property
    def seen(self) -> int:
        """Return the number of values so far."""
        return int(self.memory.scalars[kernel.SEEN])

    def update(self, time: int, value: float) -> float:
        """Return the score of the next value."""
        return float(self.extend([time], [value])[0])

    def extend(self, times: ArrayLike, values: ArrayLike) -> Floats:
        """Return the scores of the next values, 0 (as ever) to 1 (never seen); a missing value (NaN) scores 0.

        Times are microseconds and need not be regular; only the time of day is used. A score of 0.5 says that the like
        happened in one block before.
        """
        moments, readings = np.asarray(times, dtype=np.int64), np.asarray(values, dtype=np.float64)
        if moments.shape != readings.shape or moments.ndim != 1:
            raise ContractError(f"{moments.shape} times for {readings.shape} values: give one time for each value")
        rarity = np.empty(len(readings))
        kernel.replay(self.memory, _rules(self.settings), (moments % DAY) / SECOND, readings, rarity)
        scores: Floats = 1.0 / (1.0 + 10.0**-rarity)
        return scores

    def snapshot(self) -> bytes:
        """Return everything that is remembered; `restored` goes on from it."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **self.memory._asdict())
        return buffer.getvalue()

    @classmethod
    def restored(cls, snapshot: bytes, settings: StreamSettings | None = None) -> "StreamDetector":
        """Return the detector that a snapshot was taken of; `settings` are those that it had."""
        detector = cls.fresh(settings)
        with np.load(io.BytesIO(snapshot), allow_pickle=False) as stored:
            for name, array in detector.memory._asdict().items():
                if name not in stored or stored[name].shape != array.shape:
                    raise ContractError(f"the snapshot's {name} does not fit: give the settings that it was taken with")
                array[:] = stored[name]
        return detector


def score_stream(times: ArrayLike, values: ArrayLike, settings: StreamSettings | None = None) -> Floats:
    """Return the scores of a whole stream, as `StreamDetector.update` would give them one after the other."""
    return StreamDetector.fresh(settings).extend(times, values)


def _nothing(memory: int) -> kernel.Memory:
    histories = kernel.MEMBERS + 1
    return kernel.Memory(
        scalars=np.zeros(kernel.SCALARS),
        past=np.zeros((memory, kernel.COLUMNS)),
        profile=np.zeros((kernel.SLOTS, 2)),
        mix=np.zeros((2, kernel.MIXES)),
        counts=np.zeros((histories, kernel.BINS)),
        tallies=np.zeros((histories, kernel.TALLY)),
    )


def _rules(settings: StreamSettings) -> kernel.Rules:
    return kernel.Rules(
        weights=np.array(settings.weights, dtype=np.float64),
        power=settings.power,
        blocks=(float(settings.block), float(settings.joint_block)),
        fading=(settings.member_fading, settings.joint_fading),
        rest_share=settings.rest_share,
        rest=float(settings.rest),
        step_up=settings.step_up,
    )
