"""Requests that are slow by what they are for."""

from __future__ import annotations

import time

import quantum_pulse as qp
from tests.corpus.registry import cause, program
from tests.corpus.running import Run, request


@program("slow tenant", cause("attribute: tenant=acme"))
def slow_tenant(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if call.tenant == "acme":
                with run.truth.planted():
                    run.hash(400)


@program("slow route and size together", cause("attributes: route=/search; size=large"))
def slow_pair(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if call.route == "/search" and call.size == "large":
                with run.truth.planted():
                    run.hash(400)


@program("slow shard", cause("attribute: shard=shard-7"))
def slow_shard(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve(between=lambda call=call: wait_for(run, call.shard))


def wait_for(run: Run, shard: str) -> None:
    if shard == "shard-7" and run.often(0.3):
        with run.truth.planted():
            time.sleep(0.004)


@program("large requests take longer", cause("attribute: size=large"))
def large_requests(run: Run) -> None:
    """By their nature: each is as slow as ever."""
    for call in run.calls():
        with request(call):
            run.serve()
            if call.size == "large":
                with run.truth.planted():
                    run.hash(150)


@program("mix shift", cause("attribute: size=large"))
def mix_shift(run: Run) -> None:
    """No request gets slower, but ever more of them are large."""
    for call in run.calls():
        is_large = run.often(0.04 * run.passed)
        call = call._replace(size="large" if is_large else "small")
        with request(call):
            run.serve()
            if is_large:
                with run.truth.planted():
                    run.hash(300)


@program("failing requests", cause("error"))
def failing_requests(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if run.often(0.02):
                with run.truth.planted():
                    time.sleep(0.005)
                qp.annotate(error="http 504")


@program("slow tenant and slow shard", cause("attribute: tenant=acme"), cause("attribute: shard=shard-7"))
def two_attributes(run: Run) -> None:
    for call in run.calls():
        with request(call):
            run.serve()
            if call.tenant == "acme" or call.shard == "shard-7":
                with run.truth.planted():
                    run.hash(400)
