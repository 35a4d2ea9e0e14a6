"""Latency and cost of the rolled-out service against load, by discrete-event simulation.

    python -m tests.benchmarks.scale [--cpu-s 0.4] [--gpu-s 0.09] [--gpu-extra-s 0.06] [--quota 3] ...

What is simulated: uploads arrive; Pub/Sub pushes each event within a window that grows with answers and shrinks with
refusals; Cloud Run gives it to an instance below its concurrency, else holds it for a while and then answers 429; the
autoscaler starts instances (cold start) towards 60 % of their concurrency, at most the GPU quota; in an instance an
image takes processor time on one of its cores, then a place in a GPU batch. An answer later than the ack deadline, and
every refusal, is delivered again after an exponential back-off, until the attempts are used up and the event is
dead-lettered. In an outage the completion topic takes nothing: results are stored, their requests answered 503.

What goes in is printed first. Stage times are inputs: processor times come from tests/benchmarks/matting.py and
codec.py, GPU times from the published figures of the checkpoint until they are measured on the service's own GPU.
"""

import argparse
import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import Any

LOOK_UP_S = 0.05  # finding that the result is there already


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything about the deployment that shapes latency, cost and loss."""

    cpu_s: float = 0.40  # processor seconds per image: decode, matte, encode, transfers' share
    cores: int = 8  # per instance
    gpu_s: float = 0.09  # seconds of a GPU batch of one
    gpu_extra_s: float = 0.06  # seconds that each further image of a batch adds
    max_batch: int = 4
    concurrency: int = 12  # requests per instance at once
    quota: int = 3  # GPUs, so instances, in the region
    min_instances: int = 0
    cold_start_s: float = 25.0  # image, driver, weights to the GPU, warm-up
    idle_s: float = 600.0  # an idle GPU instance is kept this long
    ack_deadline_s: float = 600.0
    pending_s: float = 10.0  # how long a request without an instance is held before 429, beyond a cold start
    backoff_low_s: float = 10.0
    backoff_high_s: float = 600.0
    attempts: int = 50  # deliveries before the dead-letter topic
    window: int = 3000  # events that Pub/Sub has outstanding at most
    autoscale_s: float = 5.0
    outage_s: float = 0.0  # from the first arrival on, the completion topic is down this long
    target: float = 0.6  # of concurrency, what the autoscaler aims at
    gpu_second: float = 0.000187  # price, with its processors and memory in `instance_second`
    instance_second: float = 0.000244


@dataclass(slots=True, eq=False)
class Event:
    arrived: float
    attempts: int = 0
    begun: bool = False
    stored: bool = False  # its result is there: a later delivery only publishes the message
    published: bool = False
    settled: bool = False  # acknowledged or dead-lettered


@dataclass(slots=True, eq=False)
class Delivery:
    """One push of one event: alive until it is answered, refused or past the ack deadline."""

    event: Event
    alive: bool = True
    instance: "Instance | None" = None


@dataclass(slots=True, eq=False)
class Instance:
    ready_at: float
    running: int = 0
    cores_busy: int = 0
    cpu_queue: deque[Delivery] = field(default_factory=deque)
    gpu_queue: deque[Delivery] = field(default_factory=deque)
    gpu_busy: bool = False
    idle_since: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What the users and the bill see."""

    images: int
    latencies: list[float]  # seconds from upload to message, each finished image once
    dead_letters: int
    refused: int  # 429 answers
    late: int  # answers after the ack deadline
    repeated: int  # images computed more than once
    instance_seconds: float
    peak_instances: int
    duration: float

    def percentile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else math.nan

    def cost_per_1000(self, service: Service) -> float:
        price = service.gpu_second + service.instance_second
        return 1000 * self.instance_seconds * price / max(1, len(self.latencies))


class Simulation:
    """One run. Time is in seconds from the first arrival."""

    def __init__(self, service: Service, arrivals: Iterable[float]) -> None:
        self.service = service
        self.now = 0.0
        self.calendar: list[tuple[float, int, Callable[[Any], None], Any]] = []
        self.order = itertools.count()
        self.arrivals: Iterator[float] = iter(arrivals)
        self.backlog: deque[Event] = deque()  # in the topic, not pushed now
        self.held: deque[Delivery] = deque()  # pushed, no instance yet
        self.window = 10.0
        self.outstanding = 0
        self.unsettled = 0
        self.more = True
        self.instances: list[Instance] = []
        self.billed = 0.0
        self.peak = 0
        self.images = self.dead = self.refused = self.late = self.repeated = 0
        self.latencies: list[float] = []

    def run(self) -> Result:
        for _ in range(self.service.min_instances):
            self._start(0.0)
        self._next_arrival()
        self._at(0.0, self._scale, None)
        while self.calendar and (self.unsettled or self.more):
            self.now, _, action, subject = heapq.heappop(self.calendar)
            action(subject)
        self.billed += sum(self._bill(instance) for instance in self.instances)
        return Result(
            images=self.images,
            latencies=self.latencies,
            dead_letters=self.dead,
            refused=self.refused,
            late=self.late,
            repeated=self.repeated,
            instance_seconds=self.billed,
            peak_instances=self.peak,
            duration=self.now,
        )

    def _at(self, time: float, action: Callable[[Any], None], subject: object) -> None:
        heapq.heappush(self.calendar, (time, next(self.order), action, subject))

    # topic and subscription

    def _next_arrival(self) -> None:
        time = next(self.arrivals, None)
        self.more = time is not None
        if time is not None:
            self._at(time, self._arrive, None)

    def _arrive(self, _: object) -> None:
        self.images += 1
        self.unsettled += 1
        self.backlog.append(Event(self.now))
        self._next_arrival()
        self._push()

    def _again(self, event: Event) -> None:
        self.backlog.append(event)
        self._push()

    def _push(self) -> None:
        while self.backlog and self.outstanding < self.window:
            delivery = Delivery(self.backlog.popleft())
            delivery.event.attempts += 1
            self.outstanding += 1
            self._at(self.now + self.service.ack_deadline_s, self._expire, delivery)
            instance = self._free_instance()
            if instance:
                self._admit(instance, delivery)
            else:
                self.held.append(delivery)
                self._at(self.now + self.service.pending_s, self._refuse, delivery)

    def _refuse(self, delivery: Delivery) -> None:
        """429, for a request that no instance took, unless one is on its way."""
        if not delivery.alive or delivery.instance:
            return
        if any(instance.ready_at > self.now for instance in self.instances):
            self._at(self.now + self.service.pending_s, self._refuse, delivery)
            return
        self.refused += 1
        self._deliver_again(delivery)

    def _expire(self, delivery: Delivery) -> None:
        """Past the ack deadline: Pub/Sub delivers again, while the first request still runs."""
        if delivery.alive:
            self.late += 1
            self._deliver_again(delivery)

    def _deliver_again(self, delivery: Delivery) -> None:
        delivery.alive = False
        self.outstanding -= 1
        self.window = max(1.0, self.window / 2)
        event = delivery.event
        if event.attempts >= self.service.attempts:
            self._settle(event)
            self.dead += 1
        else:
            wait = min(self.service.backoff_high_s, self.service.backoff_low_s * 2.0 ** min(event.attempts - 1, 20))
            self._at(self.now + wait, self._again, event)
        self._push()

    def _settle(self, event: Event) -> None:
        if not event.settled:
            event.settled = True
            self.unsettled -= 1

    # instances

    def _free_instance(self) -> Instance | None:
        limit = self.service.concurrency
        candidates = [i for i in self.instances if i.ready_at <= self.now and i.running < limit]
        return min(candidates, key=lambda i: i.running) if candidates else None

    def _start(self, ready_at: float) -> None:
        self.instances.append(Instance(ready_at=ready_at, idle_since=ready_at))
        self.peak = max(self.peak, len(self.instances))
        self._at(ready_at, self._admit_held, None)

    def _admit_held(self, _: object) -> None:
        while self.held and (instance := self._free_instance()):
            delivery = self.held.popleft()
            if delivery.alive:
                self._admit(instance, delivery)

    def _scale(self, _: object) -> None:
        service = self.service
        wanted = sum(i.running for i in self.instances) + sum(d.alive for d in self.held)
        target = min(service.quota, math.ceil(wanted / (service.target * service.concurrency)))
        for _i in range(target - len(self.instances)):
            self._start(self.now + service.cold_start_s)
        for instance in list(self.instances):
            idle = not instance.running and self.now - instance.idle_since > service.idle_s
            if idle and len(self.instances) > max(target, service.min_instances):
                self.instances.remove(instance)
                self.billed += self._bill(instance)
        self._at(self.now + service.autoscale_s, self._scale, None)

    def _bill(self, instance: Instance) -> float:
        """Seconds from the order to start, cold start included."""
        return max(0.0, self.now - instance.ready_at + self.service.cold_start_s)

    # inside an instance

    def _admit(self, instance: Instance, delivery: Delivery) -> None:
        instance.running += 1
        delivery.instance = instance
        if delivery.event.stored:  # found and published, not computed
            self._at(self.now + LOOK_UP_S, self._answer, delivery)
            return
        instance.cpu_queue.append(delivery)
        self._feed_cores(instance)

    def _feed_cores(self, instance: Instance) -> None:
        while instance.cpu_queue and instance.cores_busy < self.service.cores:
            instance.cores_busy += 1
            delivery = instance.cpu_queue.popleft()
            self.repeated += delivery.event.begun
            delivery.event.begun = True
            self._at(self.now + self.service.cpu_s, self._leave_core, (instance, delivery))

    def _leave_core(self, subject: tuple[Instance, Delivery]) -> None:
        instance, delivery = subject
        instance.cores_busy -= 1
        self._feed_cores(instance)
        instance.gpu_queue.append(delivery)
        self._feed_gpu(instance)

    def _feed_gpu(self, instance: Instance) -> None:
        if instance.gpu_busy or not instance.gpu_queue:
            return
        count = min(self.service.max_batch, len(instance.gpu_queue))
        batch = [instance.gpu_queue.popleft() for _ in range(count)]
        instance.gpu_busy = True
        duration = self.service.gpu_s + (count - 1) * self.service.gpu_extra_s
        self._at(self.now + duration, self._leave_gpu, (instance, batch))

    def _leave_gpu(self, subject: tuple[Instance, list[Delivery]]) -> None:
        instance, batch = subject
        instance.gpu_busy = False
        self._feed_gpu(instance)
        for delivery in batch:
            delivery.event.stored = True
            self._answer(delivery)

    def _answer(self, delivery: Delivery) -> None:
        instance, event = delivery.instance, delivery.event
        if instance is None:
            raise RuntimeError("answered without an instance")
        instance.running -= 1
        instance.idle_since = self.now
        if self.now < self.service.outage_s:
            if delivery.alive:
                self._deliver_again(delivery)
            return
        if not event.published:
            event.published = True
            self.latencies.append(self.now - event.arrived)
        if delivery.alive:
            delivery.alive = False
            self._settle(event)
            self.outstanding -= 1
            self.window = min(self.service.window, self.window + 1)
        self._admit_held(None)
        self._push()


def poisson(rate: float, seconds: float, seed: int = 1) -> Iterator[float]:
    """Arrival times of independent uploads, `rate` per second, for `seconds`."""
    source = random.Random(seed)
    time = 0.0
    while (time := time + source.expovariate(rate)) < seconds:
        yield time


def burst(images: int, seconds: float = 60.0) -> Iterator[float]:
    """A folder dropped at once: evenly spread over the time that its upload takes."""
    return (seconds * index / images for index in range(images))


def instance_rate(service: Service) -> float:
    """Images per second that one busy instance finishes: the smaller of its processors and its GPU."""
    full_batch = service.gpu_s + (service.max_batch - 1) * service.gpu_extra_s
    return min(service.cores / service.cpu_s, service.max_batch / full_batch)


HEADINGS = ("", "images", "p50 s", "p95 s", "max s", "429", "late", "again", "lost", "GPUs", "$/1000")


def row(label: str, service: Service, arrivals: Iterable[float]) -> tuple[str, ...]:
    result = Simulation(service, arrivals).run()
    return (
        label,
        f"{result.images:,}",
        f"{result.percentile(0.5):,.1f}",
        f"{result.percentile(0.95):,.1f}",
        f"{result.percentile(1.0):,.1f}",
        f"{result.refused:,}",
        f"{result.late:,}",
        f"{result.repeated:,}",
        f"{result.dead_letters:,}",
        str(result.peak_instances),
        f"{result.cost_per_1000(service):.3f}",
    )


def table(title: str, rows: Iterable[tuple[str, ...]]) -> None:
    print(f"\n{title}\n")
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS))
    for cells in rows:
        print("| " + " | ".join(cells) + " |", flush=True)


def rates(service: Service, seconds: float) -> None:
    """Where the quota bends the curve."""
    limit = service.quota * instance_rate(service)
    shares = (0.1, 0.5, 0.8, 0.95, 1.2)
    table(
        f"Steady arrivals for {seconds:.0f} s, quota of {service.quota} GPUs (they finish {limit:.0f} images/s)",
        (row(f"{limit * share:.1f}/s ({share:.0%})", service, poisson(limit * share, seconds)) for share in shares),
    )
    enough = math.ceil(1000 / (service.target * instance_rate(service)))
    big = replace(service, quota=enough)
    table(
        f"The same with a quota of {enough} GPUs, sized for 1,000 images/s",
        (row(f"{rate}/s", big, poisson(rate, min(seconds, 120.0))) for rate in (10, 100, 1000)),
    )


def bursts(service: Service, largest: int) -> None:
    sizes = [size for size in (1_000, 10_000, 100_000, 1_000_000) if size <= largest]
    enough = replace(service, quota=100)
    table(
        f"A burst within a minute, quota of {service.quota} GPUs",
        (row(f"{size:,}", service, burst(size)) for size in sizes if size <= 10_000),
    )
    table("A burst within a minute, quota of 100 GPUs", (row(f"{size:,}", enough, burst(size)) for size in sizes))


def choices(service: Service) -> None:
    """Each setting beside its alternatives, under the load that tells them apart."""
    limit = service.quota * instance_rate(service)
    large = replace(service, cpu_s=4.0, gpu_s=0.5, gpu_extra_s=0.4)
    table(
        "Ack deadline: 2,000 uploads of 48 MP (ten times the processor time) in a minute, no instance running",
        (
            row(f"{deadline:.0f} s", replace(large, ack_deadline_s=deadline), burst(2_000))
            for deadline in (10.0, 30.0, 60.0, 600.0)
        ),
    )
    table(
        "Concurrency: 80 % of the quota's rate",
        (
            row(f"{count}", replace(service, concurrency=count), poisson(0.8 * limit, 600))
            for count in (1, 4, 8, 12, 24, 80)
        ),
    )
    hours = [(count, outage) for outage in (600.0, 3600.0, 7200.0) for count in (5, 10, 20, 50)]
    table(
        "Attempts before the dead-letter topic: one upload a second for 10 minutes, the topic down from the start",
        (
            row(
                f"{count}, down {outage / 60:.0f} min",
                replace(service, attempts=count, outage_s=outage),
                poisson(1.0, 600),
            )
            for count, outage in hours
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in fields(Service):
        name = "--" + option.name.replace("_", "-")
        parser.add_argument(name, type=type(option.default), default=option.default, help=f"default {option.default}")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the steady runs")
    parser.add_argument("--burst", type=int, default=1_000_000, help="largest burst")
    given = vars(parser.parse_args())
    seconds, largest = given.pop("seconds"), given.pop("burst")
    service = Service(**given)
    print("Inputs:", ", ".join(f"{name}={value:g}" for name, value in given.items()))
    print(f"One instance finishes {instance_rate(service):.1f} images/s.")
    choices(service)
    rates(service, seconds)
    bursts(service, largest)


if __name__ == "__main__":
    main()
