"""The mail about an order, and when a failed one is tried again."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from uuid import UUID

from hypothesis import example, given
from hypothesis import strategies as st

from webstore_customer.api import CustomerInput
from webstore_customer.domain import Mail, Recipient, compose, pause_after

ID = UUID("7a1e6c5e-9f3d-4f0e-8a6b-0b8f6d2f4c11")
LINES = [{"productNumber": "001", "quantity": 2}, {"productNumber": "<b>", "quantity": 1}]


def _is_valid(name: str) -> bool:
    try:
        CustomerInput.model_validate({"firstName": name, "lastName": "x", "email": "a@b"})
    except ValueError:
        return False
    return True


def sent(name: str = "Ann Smith", attempts: int = 1) -> EmailMessage:
    """The message as it arrives."""
    composed = compose(
        Mail(ID, "ann", LINES, attempts, {}), Recipient(name, "ann@example.com"), "store@webstore.example"
    )
    return message_from_bytes(composed.as_bytes(policy=SMTP), policy=SMTP)  # type: ignore[arg-type, return-value]


def test_its_message_id_is_the_orders_and_the_same_at_every_attempt() -> None:
    assert sent()["Message-ID"] == sent(attempts=7)["Message-ID"] == f"<order-{ID}@webstore.example>"


def test_it_has_a_text_and_an_html_part_with_every_line() -> None:
    text, html = sent().iter_parts()
    assert text.get_content_type() == "text/plain"
    assert html.get_content_type() == "text/html"
    for part in (text, html):
        content = part.get_content()
        assert "2 × 001" in content
        assert str(ID) in content
    assert "1 × &lt;b&gt;" in html.get_content()


@given(
    (st.text(min_size=1, max_size=100) | st.text(st.sampled_from('aé ";:,.<>@()[]\\\r\n\t='), min_size=1)).filter(
        _is_valid
    )
)
@example("é <ann@elsewhere.example>,")
@example("; é")
def test_no_customers_name_adds_a_header_or_another_recipient(name: str) -> None:
    message = sent(name)
    assert set(message.keys()) == {"Message-ID", "From", "To", "Subject", "MIME-Version", "Content-Type"}
    assert [address.addr_spec for address in message["To"].addresses] == ["ann@example.com"]


@given(st.integers(1, 100_000))
def test_pauses_double_up_to_a_quarter_of_an_hour_however_long_a_server_is_down(attempts: int) -> None:
    assert pause_after(1) == 2
    assert pause_after(attempts) <= pause_after(attempts + 1) <= min(2 * pause_after(attempts), 900)
