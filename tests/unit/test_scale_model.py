"""The capacity model: what has to hold in any simulation of queues, and in the fit of its costs."""

import random
from dataclasses import replace

import pytest
import simpy

from bench.scale.costs import Costs, Sample, distinct, fit
from bench.scale.fitting import Check
from bench.scale.forecast import Forecast, Scenario, forecast, limit, shrinking
from bench.scale.measure import cell
from bench.scale.model import Load, Setup, Simulation, quantile
from bench.scale.parts import QUANTUM_S, Cpu, Steps
from bench.scale.report import worst

COSTS = Costs(
    cpu={
        "load generator": {"request": 25e-6},
        "web": {"request": 150e-6, "message": 300e-6},
        "RabbitMQ": {"message": 600e-6},
        "worker": {"message": 400e-6, "transaction": 1e-3, "order": 30e-6},
        "PostgreSQL": {"transaction": 1.5e-3, "order": 40e-6, "row": 5e-6},
    },
    held={"transaction": 0.2e-3, "row": 5e-6},
    flush_s=0.5e-3,
    confirm_s=1e-3,
    look_s=3e-3,
    queue_s=100e-6,
)
HERE = Setup(shared_cores=2)


@pytest.mark.parametrize("load", [
    Load(connections=32, seconds=0.5),
    Load(connections=4, batch=200, seconds=0.5),
    Load(rate=800, probes=20, seconds=0.5),
    Load(connections=32, hot=True, seconds=0.5),
])  # fmt: skip
def test_every_order_that_is_posted_is_decided_once(load: Load) -> None:
    # Given two of each process, who share two cores
    simulation = Simulation(COSTS, replace(HERE, web=2, workers=2), load)
    # When orders are posted for a while, and then none
    found = simulation.run()
    # Then all that was accepted is decided, and nothing is left
    assert found.decided == found.accepted > 100
    assert simulation.in_system.now == 0
    assert len(found.waits_ms) * load.batch >= found.decided
    # Nor does anything hold or wait for a row.
    assert not simulation.locks._waiting


def test_the_mean_number_in_the_system_is_the_rate_times_the_mean_time_in_it() -> None:
    # Given a load of its own pace, after a warm-up
    load = Load(rate=1000, warm_s=1, seconds=5)
    found = Simulation(COSTS, Setup(), load).run()
    # Then Little's law holds
    mean_s = sum(found.waits_ms) / len(found.waits_ms) / 1000
    assert found.mean_in_system == pytest.approx(found.orders_per_s * mean_s, rel=0.05)


def mean_time_s(work_s: float, load: float, seconds: float) -> float:
    """Of jobs that come to one core at random and keep it busy for that share of the time."""
    env, times, chance = simpy.Environment(), [], random.Random(5)
    cpu = Cpu(env)

    def job() -> Steps:
        came = env.now
        yield from cpu.burn(work_s)
        times.append(env.now - came)

    def source() -> Steps:
        while True:
            yield env.timeout(chance.expovariate(load / work_s))
            env.process(job())

    env.process(source())
    env.run(until=seconds)
    return sum(times) / len(times)


def test_short_jobs_on_one_core_wait_as_in_the_queue_of_the_textbook() -> None:
    # Given jobs shorter than a thread's turn, which a core does one by one (M/D/1)
    work_s, load = 0.5 * QUANTUM_S, 0.7
    # Then their mean time is that of Pollaczek and Khinchin
    expected_s = work_s + load * work_s / (2 * (1 - load))
    assert mean_time_s(work_s, load, 20) == pytest.approx(expected_s, rel=0.05)


def test_long_jobs_on_one_core_share_it() -> None:
    # Given jobs of many turns, between which others get theirs (M/D/1, processor sharing)
    work_s, load = 50 * QUANTUM_S, 0.7
    # Then their mean time is that of a core which all of them have at once
    assert mean_time_s(work_s, load, 300) == pytest.approx(work_s / (1 - load), rel=0.15)


def test_flushes_take_turns_and_share() -> None:
    # Given transactions that cost nothing but a flush of 10 ms, in one process and in ten
    costs = Costs(cpu={}, flush_s=0.01)
    load = Load(skus=1_000_000, lines=1, seconds=1.0)
    alone = Simulation(costs, Setup(workers=1), load).run_transactions(1)
    ten = Simulation(costs, Setup(workers=10), load).run_transactions(1)
    # Then one makes 100 a second. Of ten, who comes during a flush waits for it and then shares
    # the next: five times as much with as many flushes.
    assert alone.decided == pytest.approx(100, abs=2)
    assert ten.decided == pytest.approx(500, rel=0.05)
    assert ten.busy["disk"] == pytest.approx(1, abs=0.02)


def test_transactions_on_the_same_stock_row_take_turns() -> None:
    # Given transactions of 10 ms that hold their rows for half of it
    costs = Costs(
        cpu={"PostgreSQL": {"transaction": 10e-3}}, held={"transaction": 5e-3},
    )  # fmt: skip
    spread = Load(skus=1_000_000, lines=2, seconds=2.0)
    hot = replace(spread, hot=True)
    # When eight processes make them
    free = Simulation(costs, Setup(workers=8), spread).run_transactions(1)
    held = Simulation(costs, Setup(workers=8), hot).run_transactions(1)
    # Then they run side by side on different rows, and with one row it is busy all the time
    assert free.orders_per_s == pytest.approx(800, rel=0.05)
    assert held.orders_per_s == pytest.approx(200, rel=0.05)
    assert held.busy["row locks"] > 0.5


def test_no_more_transactions_run_at_once_than_there_are_slots() -> None:
    # Given orders that fill every worker's transactions, and two slots for eight of them
    load = Load(connections=256, warm_s=0.2, seconds=1.0)
    found = Simulation(COSTS, Setup(web=4, workers=8, slots=2), load).run()
    # Then both are taken nearly all the time, and everything goes on
    assert found.busy["transactions"] == pytest.approx(1, abs=0.1)
    assert found.decided > 1000


def test_a_worker_puts_all_that_it_holds_into_a_transaction_once_it_has_a_slot() -> None:
    # Given messages of one order each, which come faster than transactions of one would go
    load = Load(rate=3000, warm_s=0.3, seconds=1.0)
    costs = replace(COSTS, cpu={"PostgreSQL": {"transaction": 5e-3}})
    found = Simulation(costs, Setup(web=8, workers=2, slots=1), load).run()
    # Then transactions have grown until all are decided
    assert found.decided == pytest.approx(3000, rel=0.1)
    assert found.decided / found.transactions > 10


def test_once_sold_out_orders_are_refused_and_hold_no_row() -> None:
    # Given a flash sale: one SKU, and stock for a hundred orders
    load = Load(rate=2000, lines=1, hot=True, stock=100, seconds=1.0)
    simulation = Simulation(COSTS, Setup(web=2, workers=4), load)
    found = simulation.run()
    # Then all are decided, a hundred of them with a unit, and few transactions waited for the row
    assert found.decided == found.accepted > 1000
    assert simulation.units == 0
    assert found.busy["row locks"] < 0.05


def test_one_more_worker_does_no_harm_where_workers_are_not_the_limit() -> None:
    # Given web processes that can do far more than is offered, and rows that are rarely shared
    load = Load(rate=3000, warm_s=0.5, seconds=1, skus=1_000_000)
    rates = [
        Simulation(COSTS, Setup(web=4, workers=number), load).run().orders_per_s
        for number in (3, 4, 8)
    ]
    # Then as much is decided with each number of workers
    assert rates == pytest.approx([3000] * 3, rel=0.05)


def test_where_web_processes_are_the_limit_two_do_twice_as_much() -> None:
    # Given more than one web process, of 2 ms a request, can do
    costs = replace(COSTS, cpu={"web": {"request": 2e-3}})
    load = Load(rate=2000, warm_s=1, seconds=4, skus=1_000_000)
    one, two = (Simulation(costs, Setup(web=n, workers=2), load).run() for n in (1, 2))
    assert limit(one) == "web"
    # Then it is busy all the time, and two do twice as much
    assert one.busy["web"] > 0.95
    assert two.accepted / one.accepted == pytest.approx(2, rel=0.25)


def test_shared_cores_are_never_busy_for_longer_than_they_are_there() -> None:
    # Given more work than two cores can do, and a fifth of them at others
    simulation = Simulation(
        COSTS, replace(HERE, speed=0.8), Load(connections=256, warm_s=0.5, seconds=2)
    )
    found = simulation.run()
    # Then all their CPU time together is nearly what there was, and not more
    used = sum(cpu.busy_s for cpu in simulation._cpus())
    assert 0.8 * 2 * 0.8 * found.seconds < used <= 2 * 0.8 * found.seconds * 1.01


def test_the_same_seed_gives_the_same_run() -> None:
    load = Load(connections=64, seconds=0.5)
    first, again = (Simulation(COSTS, HERE, load, seed=7).run() for _ in range(2))
    assert first == again


def test_a_client_that_waits_sees_the_decision_after_it_was_made() -> None:
    found = Simulation(COSTS, HERE, Load(rate=100, probes=20, seconds=3)).run()
    assert len(found.seen_ms) >= 55
    begun, decided, seen = (
        quantile(times, 0.5) for times in (found.begun_ms, found.waits_ms, found.seen_ms)
    )
    assert 0 < begun < decided < seen


def test_of_a_closed_loop_half_flies_while_half_gathers() -> None:
    found = Simulation(COSTS, HERE, Load(connections=64, seconds=1)).run()
    assert found.accepted / found.messages == pytest.approx(32, rel=0.05)


def test_who_comes_while_all_cores_are_taken_waits_for_the_kernel_too() -> None:
    def waited_s(switch_s: float) -> float:
        env = simpy.Environment()
        cores = simpy.Resource(env, 1)
        first, second = (Cpu(env, cores, switch_s=switch_s) for _ in range(2))
        env.process(first.burn(QUANTUM_S / 2))
        env.run(until=QUANTUM_S / 10)
        env.run(env.process(second.burn(QUANTUM_S / 2)))
        return float(env.now)

    assert waited_s(0) == pytest.approx(QUANTUM_S)
    assert waited_s(QUANTUM_S) == pytest.approx(1.6 * QUANTUM_S)


def test_the_fit_finds_the_costs_that_made_the_samples() -> None:
    # Given CPU times made of known costs, in runs of different make-up
    true = {"message": 400e-6, "order": 50e-6, "line": 8e-6}
    counts = [
        {"message": messages, "order": orders, "line": orders * lines}
        for messages, orders, lines in ((100, 100, 2), (50, 1000, 1), (10, 5000, 8), (200, 400, 4))
    ]
    samples = [Sample(c, sum(c[name] * true[name] for name in true)) for c in counts]
    # Then they are found again
    assert fit(samples, tuple(true)) == pytest.approx(true)


def test_a_cost_is_never_below_nothing() -> None:
    # Given times that fall with the number of lines, as noise may have it
    samples = [Sample({"order": 100, "line": lines}, 1 - lines / 1000) for lines in (100, 200, 400)]
    found = fit(samples, ("order", "line"))
    assert found["line"] == 0
    assert 0 < found["order"] < 0.01


def test_few_draws_are_all_different_and_many_find_every_one() -> None:
    assert distinct(1, 1000) == pytest.approx(1)
    assert distinct(2000, 1000) == pytest.approx(865, abs=1)
    assert distinct(1e6, 1000) == pytest.approx(1000)


def test_a_forecast_names_what_is_full() -> None:
    # Given stock rows that every order wants, held for long, and a disk of which there is enough
    costs = replace(COSTS, held={"transaction": 20e-3}, cpu={
        **COSTS.cpu, "PostgreSQL": {"transaction": 25e-3, "order": 40e-6},
    })  # fmt: skip
    scenario = Scenario("hot", Load(skus=100_000, hot=True))
    # When four processes of each are predicted
    found = forecast(costs, scenario, 4, 4)
    # Then it is the rows that limit, and the time at half of that is a small one
    assert found.limit == "row locks"
    assert 0 < found.p50_ms < 500


@pytest.mark.parametrize(("of_100", "fewer"), [(500.0, ["hot"]), (980.0, []), (1500.0, [])])
def test_more_processes_that_carry_less_are_told_from_the_coarseness_of_the_search(
    of_100: float, fewer: list[str]
) -> None:
    found = [
        Forecast("hot", number, number, capacity, "", {}, 0, 0, 0, 0)
        for number, capacity in ((1, 2000.0), (10, 1000.0), (100, of_100))
    ]
    assert shrinking(found) == fewer


def test_the_worst_cell_is_held_against_the_best_with_fewer_processes_only() -> None:
    # Given rates that fall as workers are added to two web processes, and are highest with four
    rates = {(1, 1): 100.0, (1, 2): 110.0, (2, 1): 120.0, (2, 2): 90.0, (4, 1): 200.0}
    checks = [
        Check(cell(web, workers, "1,000 SKUs").name, "orders/s", rate, rate)
        for (web, workers), rate in rates.items()
    ]
    assert worst("1,000 SKUs", checks) == (0.75, "2 × 2, 1,000 SKUs")
