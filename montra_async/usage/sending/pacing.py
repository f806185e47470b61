"""How fast to send: adaptive concurrency, and a pace below a rate limit. No I/O; the caller gives the time."""

from __future__ import annotations

from collections import deque


class AdaptiveConcurrency:
    """A number of requests at once: one more for each success, half of it when the service has too many.

    Args:
        maximum: upper bound.
        start: number at the beginning. Default: 8.
    """

    def __init__(self, maximum: int, start: int = 8) -> None:
        self.limit: int = min(start, maximum)
        self._maximum = maximum
        self._halved_at: float | None = None

    def succeeded(self) -> None:
        """A request was handled."""
        if self.limit < self._maximum:
            self.limit += 1

    def congested(self, started: float, now: float) -> None:
        """A request was refused. All that were under way together count once.

        Args:
            started: when it was sent.
            now: the time.
        """
        if self._halved_at is not None and started < self._halved_at:
            return
        self.limit = max(1, self.limit // 2)
        self._halved_at = now

    def restart(self) -> None:
        """Begin with one at a time again."""
        self.limit = 1


class GoodputMeter:
    """Successes per second, over the last one or two seconds of the time in which there was work to do."""

    WINDOWS = (1.0, 2.0)
    """Seconds. The larger of two rates counts: a limit that is counted per second shows its true rate only over one,
    and over exactly one only if that begins with the service's second."""

    _SAMPLE = 0.1
    _SHORTEST = 0.02

    def __init__(self) -> None:
        self.successes: int = 0
        self._active_before = 0.0
        self._active_since: float | None = None
        self._samples: deque[tuple[float, int]] = deque([(0.0, 0)])
        self._sample_at = 0.0

    def set_active(self, active: bool, now: float) -> None:
        """Say whether there is anything to send, or under way."""
        if active and self._active_since is None:
            self._active_since = now
        elif not active and self._active_since is not None:
            self._active_before += now - self._active_since
            self._active_since = None

    def active_time(self, now: float) -> float:
        """Seconds so far in which there was work to do."""
        return self._active_before + (0.0 if self._active_since is None else now - self._active_since)

    def succeeded(self, now: float) -> None:
        """A request was handled."""
        if now >= self._sample_at:
            self._sample(now)
        self.successes += 1

    def _sample(self, now: float) -> None:
        active = self.active_time(now)
        if active - self._samples[-1][0] >= self._SAMPLE:
            self._samples.append((active, self.successes))
            while len(self._samples) > 1 and self._samples[1][0] <= active - self.WINDOWS[-1]:
                self._samples.popleft()
        self._sample_at = now + self._SAMPLE - (active - self._samples[-1][0])

    def rate(self, now: float) -> float:
        """Successes per second."""
        active = self.active_time(now)
        return max(self._rate_since(active - window, active) for window in self.WINDOWS)

    def _rate_since(self, start: float, active: float) -> float:
        since, before = self._samples[0]
        for sample in self._samples:
            if sample[0] > start:
                break
            since, before = sample
        return (self.successes - before) / max(self._SHORTEST, active - since)


class PaceTrial:
    """Finds out whether a pace helps, by doing without one for some refusals.

    Refusals may have nothing to do with the rate: a limit of single customers, or a share of requests that a broken
    server refuses. They come at any pace, and a pace that follows the goodput sinks with each of them.
    """

    SUSPICIOUS = 0.4
    """A pace may not help when the goodput with it is below this part of the best one since the last trial."""

    _SHORTEST, _LONGEST = 4, 256  # refusals: twice as many in each trial, until a pace has helped

    def __init__(self) -> None:
        self._reference: float | None = None
        self._length = self._SHORTEST
        self._left = 0
        self._since = (0, 0.0)

    @property
    def is_on(self) -> bool:
        """Whether there is to be no pace for now."""
        return self._left > 0

    def is_due(self, goodput: float) -> bool:
        """Whether the goodput with a pace has sunk too far.

        The first one to compare with is that of the first pace: before it, the goodput did not include any pause.

        Args:
            goodput: with the pace, in successes per second.
        """
        if self._reference is None:
            self._reference = goodput
        return goodput < self.SUSPICIOUS * self._reference

    def begin(self, successes: int, active: float) -> None:
        """Do without a pace from now on.

        Args:
            successes: number of successes so far.
            active: seconds with work so far.
        """
        self._left = self._length
        self._length = min(2 * self._length, self._LONGEST)
        self._since = successes, active

    def refused(self, successes: int, active: float) -> None:
        """A request was refused during the trial.

        Args:
            successes: number of successes so far.
            active: seconds with work so far.
        """
        self._left -= 1
        if not self._left:
            before, since = self._since
            self._reference = (successes - before) / max(1e-3, active - since)

    def helped(self, goodput: float) -> None:
        """The pace has kept refusals away.

        Args:
            goodput: with the pace, in successes per second.
        """
        self._length = self._SHORTEST
        self._reference = max(goodput, self._reference or 0.0)


class Pacer:
    """Keeps the rate below a limit of the service's, once the service has shown that it has one.

    A refusal with `Retry-After` shows it, or several without. The rate is then set to 85 % of the goodput so far. It
    approaches the goodput within ten seconds, and grows beyond it, first slowly, until a refusal shows the limit again:
    CUBIC's curve, which spends most of its time just below the limit. Without refusals, the pace is dropped in the end.

    The goodput says little of the limit while most of the time goes by in pauses. The curve is passed faster then.

    A pace that does not help is dropped for a while: see `PaceTrial`.
    """

    SHARE = 0.85
    """The part of the goodput that remains after a refusal."""

    APPROACH = 10.0
    """Seconds until the goodput is reached again."""

    _PROBING = 1.5e-3  # of the goodput, per cubed second after that
    _LARGEST_CUT = 0.4  # of the rate, at one refusal: the goodput may be low for other reasons
    _HASTE = 2.5  # times as fast along the curve
    _HASTY_ABOVE = 2.0  # times the goodput: so fast it was when it was refused
    _DROPPED_AT = 20.0  # times the goodput: the limit has gone
    _STRIKES = 5.0  # refusals without Retry-After that show a limit
    _FORGIVEN = 0.05  # strikes that a success takes back: up to 5 % of refusals cost no rate
    _BURST = 0.01  # seconds whose requests may be made up for at once
    _SLOWEST = 0.2  # requests per second

    def __init__(self) -> None:
        self.goodput: GoodputMeter = GoodputMeter()
        self._trial = PaceTrial()
        self._base: float | None = None
        self._speed = 1.0
        self._successes_at: int = 0
        self._strikes = 0.0
        self._set_at = 0.0
        self._set_at_active = 0.0
        self._tokens = 0.0
        self._tokens_at = 0.0

    @property
    def is_on(self) -> bool:
        """Whether there is a pace. It may be so high that it means nothing any more."""
        return self._base is not None

    def rate(self, now: float) -> float | None:
        """Requests per second; None while there is no pace."""
        if self._base is None:
            return None
        since = self._since_approach(now)
        if since <= 0:
            factor = 1 + (1 - self.SHARE) * max(-1.0, since / self.APPROACH) ** 3
        else:
            factor = 1 + self._PROBING * since**3
        return None if factor > self._DROPPED_AT else max(self._SLOWEST, self._base * factor)

    def _since_approach(self, now: float) -> float:
        """Seconds on the curve since the goodput was reached again; negative before."""
        return (self.goodput.active_time(now) - self._set_at_active) * self._speed - self.APPROACH

    def delay(self, now: float) -> float:
        """Seconds until the next request may be sent."""
        rate = self.rate(now)
        if rate is None:
            return 0.0
        burst = max(1.0, rate * self._BURST)
        self._tokens = min(burst, self._tokens + max(0.0, now - self._tokens_at) * rate)
        self._tokens_at = now
        return 0.0 if self._tokens >= 1.0 else (1.0 - self._tokens) / rate

    def started(self) -> None:
        """A request is sent."""
        if self._base is not None:
            self._tokens -= 1.0

    def succeeded(self, now: float) -> None:
        """A request was handled."""
        self.goodput.succeeded(now)
        if self._strikes:
            self._strikes = max(0.0, self._strikes - self._FORGIVEN)

    def throttled(self, started: float, now: float, pause: float | None) -> None:
        """A request was refused, because there are too many.

        Args:
            started: when it was sent. Those sent before the pace was set say nothing about it.
            now: the time.
            pause: seconds that the service asked to wait; None when it did not ask.
        """
        if started < self._set_at:
            return
        self._strikes += 1.0
        if not pause and self._strikes < self._STRIKES:
            return
        self._strikes = 0.0
        if self.goodput.successes == self._successes_at:  # nothing is known of a rate at which requests are handled
            return
        self._successes_at = successes = self.goodput.successes
        self._set_at = now
        active = self.goodput.active_time(now)
        if self._trial.is_on:
            self._trial.refused(successes, active)
            if self._trial.is_on:
                return
        refused_at, goodput = self.rate(now), self.goodput.rate(now)
        if refused_at is not None and self._trial.is_due(goodput):
            self._trial.begin(successes, active)
            self._base = None
            return
        if refused_at is not None and self._since_approach(now) >= 0:
            self._trial.helped(goodput)
        lowest = self._SLOWEST if refused_at is None else refused_at * self._LARGEST_CUT
        self._base = max(lowest, goodput)
        self._speed = self._HASTE if refused_at is None or refused_at > self._HASTY_ABOVE * self._base else 1.0
        self._set_at_active = active + (pause or 0.0)
        self._tokens = 0.0
        self._tokens_at = now + (pause or 0.0)
