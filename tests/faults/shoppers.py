"""Customers who shop without a pause, whatever breaks, and know to a piece what they must have got for it."""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import httpx

SHOPPERS = 8
SCARCE = "scarce"
PRODUCTS = ("001", "002", "003", SCARCE)
_COMMANDS = ("product-added", "product-updated", "product-removed")
# Far above every time-out inside the store: who gives up sooner cannot know whether the command is still under way.
_ANSWER_SECONDS = 90
_RECOVERY_SECONDS = 120


class Shopper(threading.Thread):
    """Fills a cart, changes it, checks it out and places the order, again and again.

    What was answered with success must have had its effect. After any other answer, or none, it finds out what
    happened before it goes on.

    Args:
        go_on: told how many checkouts it has made, whether to make another.
    """

    def __init__(self, url: str, seed: int, go_on: Callable[[int], bool]) -> None:
        super().__init__(name=f"shopper {seed}", daemon=True)
        self.placed: set[str] = set()
        self.pending: set[str] = set()
        self.bought: Counter[str] = Counter()
        self.checkouts = 0
        self.error: BaseException | None = None
        self._random = random.Random(seed)
        self._go_on = go_on
        self._client = httpx.Client(base_url=url, timeout=_ANSWER_SECONDS, trust_env=False)
        self._cart = f"cart-{seed}"
        self._expected: Counter[str] = Counter()
        self._commands = 0

    @property
    def orders(self) -> set[str]:
        """All that it made."""
        return self.placed | self.pending

    def run(self) -> None:
        """Shops until it is told to end; an error ends it too, and is kept."""
        try:
            with self._client:
                self._register()
                while self._go_on(self.checkouts):
                    self._shop(add_meanwhile=self._random.random() < 0.3)
                if self._expected:
                    self._shop(add_meanwhile=False)
        except BaseException as error:
            self.error = error

    def _register(self) -> None:
        name = {"firstName": "Ann", "lastName": self.name, "email": f"{self._cart}@example.com"}
        customer = self._certain("POST", "/customer", {201}, name)
        self._client.headers["Customer-ID"] = customer.json()["id"]

    def _shop(self, *, add_meanwhile: bool) -> None:
        for number in self._random.sample(PRODUCTS, self._random.randint(1, 3)):
            self._add(number, self._random.randint(1, 3))
        self._change_mind()
        if not self._expected:
            self._add(PRODUCTS[0], 1)
        late: Counter[str] = Counter()
        adding = threading.Thread(target=self._add_late, args=(late, self._random.choice(PRODUCTS[:3])))
        if add_meanwhile:
            adding.start()
        self._certain("POST", f"/shopping-query/{self._cart}/checkout", {200, 409})
        if add_meanwhile:
            adding.join()
        self._account_for(late)

    def _add_late(self, late: Counter[str], number: str) -> None:
        try:
            self._add(number, 1)
            late[number] += 1
        except BaseException as error:
            self.error = error

    def _account_for(self, late: Counter[str]) -> None:
        """What was bought, and what is left in the cart, must together be what was put in."""
        new = [o for o in self._certain("GET", "/order", {200}).json()["orders"] if o["id"] not in self.orders]
        assert new, f"{self.name}: a checkout was answered, and no order is there"
        got: Counter[str] = Counter()
        for order in new:
            for line in order["orderLines"]:
                got[line["productNumber"]] += line["quantity"]
        left = self._expected.copy()
        left.subtract(got)
        left = Counter({number: quantity for number, quantity in left.items() if quantity})
        assert left in (Counter(), late), f"{self.name}: put in {self._expected}, got {got}, of which late {late}"
        self._expected = left
        self.checkouts += 1
        for order in new:
            self._place(order["id"], order["orderLines"])

    def _place(self, order_id: str, lines: Sequence[dict[str, int]]) -> None:
        if self._certain("POST", f"/order/{order_id}/place", {200, 409}).status_code == 409:
            self.pending.add(order_id)
            return
        self.placed.add(order_id)
        for line in lines:
            self.bought[str(line["productNumber"])] += line["quantity"]

    def _add(self, number: str, quantity: int) -> None:
        body = {"productNumber": number, "quantity": quantity}
        if self._command("POST", f"/shopping-command/add-to-cart/{self._cart}", body):
            self._expected[number] += quantity

    def _change_mind(self) -> None:
        number = self._random.choice(sorted(self._expected) or [SCARCE])
        choice = self._random.random()
        if number not in self._expected or choice < 0.5:
            return
        if choice < 0.75:
            body = {"productNumber": number, "quantity": self._random.randint(1, 3)}
            if self._command("POST", f"/shopping-command/update-cart/{self._cart}", body):
                self._expected[number] = int(body["quantity"])
        elif self._command("DELETE", f"/shopping-command/{self._cart}/{number}"):
            del self._expected[number]

    def _command(self, method: str, path: str, body: object = None) -> bool:
        """Has a command done exactly once; False if there is not enough in stock."""
        ends = time.monotonic() + _RECOVERY_SECONDS
        while (answer := self._ask(method, path, body)) is None:
            if self._recorded() == self._commands + 1:
                break
            assert time.monotonic() < ends, f"{self.name}: {method} {path} is not done within {_RECOVERY_SECONDS} s"
        if answer is not None and answer.status_code == 409:
            assert "can still be had" in answer.text, answer.text
            return False
        assert answer is None or answer.status_code == 200, f"{method} {path}: {answer.status_code} {answer.text}"
        self._commands += 1
        assert self._recorded() == self._commands, f"{self.name}: the cart has other commands than were sent"
        return True

    def _recorded(self) -> int:
        """How many commands the cart's stream has."""
        after, count = 0, 0
        path = f"/shopping-command/{self._cart}/events"
        while events := self._certain("GET", f"{path}?after={after}", {200}).json()["events"]:
            count += sum(event["type"] in _COMMANDS for event in events)
            after = events[-1]["version"]
        return count

    def _certain(self, method: str, path: str, statuses: set[int], body: object = None) -> httpx.Response:
        """Asks until the answer is one that settles the matter; only for what may be asked twice."""
        ends = time.monotonic() + _RECOVERY_SECONDS
        while (answer := self._ask(method, path, body)) is None:
            assert time.monotonic() < ends, f"{self.name}: {method} {path} is not answered in {_RECOVERY_SECONDS} s"
        assert answer.status_code in statuses, f"{self.name}: {method} {path}: {answer.status_code} {answer.text}"
        return answer

    def _ask(self, method: str, path: str, body: object) -> httpx.Response | None:
        """The answer; None if there is none that says whether it was done."""
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError:
            answer = None
        if answer is None or answer.status_code >= 500:
            assert answer is None or answer.status_code in (502, 503), f"{method} {path}: {answer.text}"
            time.sleep(0.1)
            return None
        return answer
