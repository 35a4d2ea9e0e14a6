"""The simulation of the rolled-out service keeps the books right."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.scale import Service, Simulation, burst, instance_rate, poisson

QUICK = Service(cpu_s=0.1, gpu_s=0.05, gpu_extra_s=0.02, cold_start_s=5, idle_s=60, backoff_low_s=1, backoff_high_s=60)


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 200),
    concurrency=st.integers(1, 20),
    quota=st.integers(1, 5),
    attempts=st.integers(1, 8),
    deadline=st.sampled_from([0.2, 2.0, 600.0]),
    outage=st.sampled_from([0.0, 20.0]),
)
def test_every_upload_is_either_finished_or_dead_lettered(
    images: int, concurrency: int, quota: int, attempts: int, deadline: float, outage: float
) -> None:
    service = replace(
        QUICK, concurrency=concurrency, quota=quota, attempts=attempts, ack_deadline_s=deadline, outage_s=outage
    )
    simulation = Simulation(service, burst(images, 5.0))
    result = simulation.run()
    assert result.images == images
    assert simulation.unsettled == 0
    # an event may be dead-lettered although an earlier, late delivery did finish it, never neither
    assert images <= len(result.latencies) + result.dead_letters
    assert len(result.latencies) <= images
    assert result.peak_instances <= quota


def test_a_warm_instance_alone_answers_in_the_sum_of_its_stages() -> None:
    service = replace(QUICK, min_instances=1, cold_start_s=0.0)
    result = Simulation(service, [1.0]).run()
    assert result.latencies == [pytest.approx(0.15)]


def test_the_first_upload_waits_for_the_cold_start() -> None:
    result = Simulation(QUICK, [0.0]).run()
    assert result.latencies[0] == pytest.approx(5.0 + 0.15, abs=QUICK.autoscale_s)


def test_no_more_is_finished_than_the_instances_can_do() -> None:
    service = replace(QUICK, min_instances=2, quota=2, cold_start_s=0.0)
    result = Simulation(service, burst(2_000, 1.0)).run()
    assert result.duration >= 2_000 / (2 * instance_rate(service))
    assert result.duration <= 1.5 * 2_000 / (2 * instance_rate(service)) + 60


def test_below_the_limit_the_queue_stays_short_and_above_it_grows() -> None:
    service = replace(QUICK, min_instances=1, quota=1, cold_start_s=0.0)
    limit = instance_rate(service)
    calm = Simulation(service, poisson(0.5 * limit, 60)).run()
    flooded = Simulation(service, poisson(2.0 * limit, 60)).run()
    assert calm.percentile(0.95) < 2
    assert flooded.percentile(0.95) > 20


def test_a_short_ack_deadline_computes_images_twice_and_a_long_one_never() -> None:
    slow = replace(QUICK, cpu_s=3.0, cores=1, min_instances=1, cold_start_s=0.0)
    short = Simulation(replace(slow, ack_deadline_s=1.0), burst(3, 0.1)).run()
    long = Simulation(replace(slow, ack_deadline_s=600.0), burst(3, 0.1)).run()
    assert short.late > 0
    assert short.repeated > 0
    assert (long.late, long.repeated) == (0, 0)


def test_few_attempts_lose_uploads_in_an_outage_that_many_survive() -> None:
    down = replace(QUICK, outage_s=120.0)
    few = Simulation(replace(down, attempts=3), burst(10, 5.0)).run()
    many = Simulation(replace(down, attempts=20), burst(10, 5.0)).run()
    assert few.dead_letters == 10
    assert many.dead_letters == 0
