"""What masking finds in texts and what it leaves, and that no text takes it long."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webstore_chassis.masking import MASK, masked

_NAMES = [
    "email", "phoneNumber", "address", "street", "city", "zip", "postCode", "first_name", "lastName", "fullName",
    "cookie", "password", "passphrase", "secret", "token", "authorization", "api_key", "credentials",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("address=17 Rosewood Lane", f"address={MASK}"),
        ("address=17 Rosewood Lane, order 5", f"address={MASK}, order 5"),
        ("city=New York order=5", f"city={MASK} order=5"),
        ("shippingCity: Springfield", f"shippingCity: {MASK}"),
        ("phone=555 0100", f"phone={MASK}"),
        ("password=hunter2 of order 5", f"password={MASK} of order 5"),
        (r'{"password": "a\"hunter2", "order": 5}', f'{{"password": {MASK}, "order": 5}}'),
        ("b'password': b'two words'", f"b'password': {MASK}"),
        ('{"emails": ["ann", "bob"], "order": 5}', f'{{"emails": {MASK}, "order": 5}}'),
        ('{"password": "hunter2 … (12 characters left out)', f'{{"password": {MASK}'),
        ("cookie: a=b; other=def", f"cookie: {MASK}"),
        ("Set-Cookie: a\nHost: order; x=y", f"Set-Cookie: {MASK}\nHost: order; x=y"),
        (
            "DETAIL:  Failing row contains (5, Ann, Smith, 17 Rosewood Lane, null).\nCONTEXT",
            f"DETAIL:  Failing row contains {MASK}.\nCONTEXT",
        ),
        ("Key (lower(email))=(ann (x) smith) already exists.", f"Key (lower(email))={MASK} already exists."),
        ("Key (email, order_id)=(ann, 5) already exists.", f"Key (email, order_id)={MASK} already exists."),
        (
            "string [type=string_type, input_value='17 Rosewood, Lane', input_type=str]",
            f"string [type=string_type, input_value={MASK}, input_type=str]",
        ),
        ("from a@b.example+c@d.example", f"from {MASK}"),
        ("postgresql://ann:hun@ter2@db/order", f"postgresql://ann:{MASK}@db/order"),
    ],
)
def test_all_of_what_is_personal_is_masked_and_no_more(text: str, left: str) -> None:
    assert masked(text) == left


@pytest.mark.parametrize(
    "text",
    [
        "GET /product/002-59f6e3 200",
        "capacity=50 CAPACITY: 9",
        'Key (order_id)=(5) is not present in table "address".',
        "released what order 6f1c2b0e-1f5e-4c55-9d0e-0a1b2c3d4e5f had reserved",
        "cart 7@12 of stream cart-900: product 001, quantity 2",
        "event 900@7 cannot be handled: KeyError: 'orderId'",
    ],
)
def test_what_is_useful_stays(text: str) -> None:
    assert masked(text) == text


@given(st.sampled_from(_NAMES), st.text(), st.text(), st.integers(0, 3))
def test_whatever_is_quoted_and_however_often_nothing_of_it_is_left(
    name: str, before: str, after: str, times: int
) -> None:
    text = json.dumps({name: f"{before}§1{after}"}, ensure_ascii=False)
    for _ in range(times):
        text = json.dumps(text, ensure_ascii=False)
    assert "§1" not in masked(text)


@given(st.sampled_from(_NAMES), st.text())
def test_what_was_cut_off_within_quotes_is_masked(name: str, value: str) -> None:
    assert "§1" not in masked(json.dumps({name: f"{value}§1"}, ensure_ascii=False)[:-2])


@pytest.mark.parametrize(
    "part",
    [
        "a-", "a", "a.", "a@", "a@b", "a@b.", "+1", "+1 ", "a b ", "://", "://:", "://a:b", "-eyJa", "eyJ", "bearer ",
        "address", "address ((", "address=a b ", "token ", "token=( ", "token={ ", "token=[ ", 'token="', 'token="\\',
        "cookie=a;", "Key (", "Key (email", "Failing row contains (", "input_value=", "a, input_type=",
    ],
)  # fmt: skip
def test_four_times_the_text_takes_some_four_times_as_long(part: str) -> None:
    def seconds(length: int) -> float:
        text = (part * length)[:length] + " token@"
        taken = []
        for _ in range(5):
            began = time.thread_time()
            masked(text)
            taken.append(time.thread_time() - began)
        return min(taken)

    # With the square of the length it would be 16 times, and 4 times with the length itself.
    assert seconds(16_000) < 10 * max(seconds(4_000), 0.0002)
