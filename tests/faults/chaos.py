"""What breaks things, at random moments."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping

Break = Callable[[], None]


class Chaos(threading.Thread):
    """Kills one victim after the other, in a new order each round, and starts it again.

    Args:
        victims: name → (what kills it, what starts it again and returns when it works).
    """

    def __init__(self, seed: int, victims: Mapping[str, tuple[Break, Break]]) -> None:
        super().__init__(name="chaos", daemon=True)
        self.killed: Counter[str] = Counter()
        self.error: BaseException | None = None
        self._random = random.Random(seed)
        self._victims = victims
        self._over = threading.Event()

    @property
    def everything_was_hit(self) -> bool:
        """Whether each victim was killed and started again, once at least."""
        return self.error is not None or set(self.killed) == set(self._victims)

    def run(self) -> None:
        """Kills until it is told to end."""
        try:
            while not self._over.is_set():
                for name in self._random.sample(sorted(self._victims), len(self._victims)):
                    if self._over.wait(self._random.uniform(0.1, 1.5)):
                        return
                    self._strike(name)
        except BaseException as error:
            self.error = error

    def _strike(self, name: str) -> None:
        kill, start = self._victims[name]
        kill()
        self._over.wait(self._random.uniform(0, 0.5))
        start()
        self.killed[name] += 1

    def end(self) -> None:
        """Lets what is broken be mended, and breaks no more."""
        self._over.set()
        self.join()
