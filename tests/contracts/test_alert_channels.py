"""What every channel of alerts promises: one attempt, no exception, an answer that says whether to try again."""

import socket
from collections.abc import Callable
from contextlib import closing

import pytest

from loops.alerts.alertmanager import Alertmanager
from loops.alerts.channel import Channel
from loops.alerts.events import Kind, alert
from loops.alerts.webhook import Webhook
from tests.webhooks import receiving

TOLD = alert(Kind.PLAN_ROLLED_BACK, "demo", "plan-1", 1_700_000_040_000, "«Größer» was rolled back", {"cause": "harm"})
Make = Callable[[str], Channel]


def webhook(url: str) -> Channel:
    return Webhook(url, "secret", timeout_s=1)


def alertmanager(url: str) -> Channel:
    return Alertmanager(url, timeout_s=1)


@pytest.fixture(params=[webhook, alertmanager])
def make(request: pytest.FixtureRequest) -> Make:
    made: Make = request.param
    return made


def test_what_is_accepted_is_delivered(make: Make) -> None:
    with receiving() as receiver, closing(make(receiver.url)) as channel:
        assert channel.attempt(TOLD).delivered
    assert "was rolled back" in receiver.posts[0].body.decode()


@pytest.mark.parametrize(("status", "hopeless"), [(500, False), (503, False), (429, False), (404, True), (302, True)])
def test_an_answer_says_whether_trying_again_helps(status: int, hopeless: bool, make: Make) -> None:
    with receiving() as receiver, closing(make(receiver.url)) as channel:
        receiver.statuses = [status]
        result = channel.attempt(TOLD)
    assert (result.delivered, result.hopeless) == (False, hopeless)


def test_a_receiver_that_is_away_is_no_error_and_its_address_is_not_told(make: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with closing(make(f"http://127.0.0.1:{taken.getsockname()[1]}/token-abc")) as channel:
            result = channel.attempt(TOLD)
    assert (result.delivered, result.hopeless) == (False, False)
    assert "token-abc" not in result.detail


def test_an_address_that_is_none_is_hopeless_and_not_told(make: Make) -> None:
    with closing(make("no-scheme/token-abc")) as channel:
        result = channel.attempt(TOLD)
    assert result.hopeless
    assert "token-abc" not in result.detail
