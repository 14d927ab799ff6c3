"""Who is served next: a queue for each client, turns by tokens; no torch, no clock.

    queue = FairQueue(quantum=512)
    queue.push("alice", request, cost=900)
    while (item := queue.peek()) is not None and fits(item):
        start(queue.pop())

Deficit round robin (Shreedhar and Varghese, 1995): at each turn a client may spend `quantum` more,
so that in the long run clients with waiting requests get equal shares of tokens, whatever the
number or the length of their requests. Requests of one client keep their order. Whoever is next
stays next until it is taken: a large request is never passed by small ones for ever.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")
QUANTUM = 512  # tokens


class FairQueue(Generic[Item]):
    """Waiting items of many clients."""

    def __init__(self, quantum: int = QUANTUM) -> None:
        """Begin empty; `quantum` is what a client may spend at each of its turns."""
        if quantum < 1:
            raise ValueError(f"quantum must be at least 1, got {quantum}")
        self._quantum = quantum
        self._queues: dict[str, deque[tuple[Item, int]]] = {}
        self._turns: deque[str] = deque()  # clients with waiting items, the first one's turn is on
        self._credit: dict[str, int] = {}
        self._is_chosen = False  # the first client has enough credit for its first item
        self._count = 0  # read by other threads, so it is no sum over what may change
        self.cost = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return iter([item for queue in self._queues.values() for item, _ in queue])

    def waiting(self, client: str) -> int:
        """Return how many items of a client wait."""
        return len(self._queues.get(client, ()))

    def push(self, client: str, item: Item, *, cost: int) -> None:
        """Put an item behind the client's others; `cost` counts from 1."""
        if cost < 1:
            raise ValueError(f"cost must be at least 1, got {cost}")
        if client not in self._queues:
            self._queues[client] = deque()
            self._turns.append(client)
            self._credit[client] = 0
        self._queues[client].append((item, cost))
        self.cost += cost
        self._count += 1

    def peek(self) -> Item | None:
        """Return whoever is next, or None; the same until it is popped or removed."""
        if not self._turns:
            return None
        while not self._is_chosen:
            client = self._turns[0]
            self._credit[client] += self._quantum
            if self._credit[client] >= self._queues[client][0][1]:
                self._is_chosen = True
            else:
                self._turns.rotate(-1)
        return self._queues[self._turns[0]][0][0]

    def pop(self) -> Item:
        """Take whoever is next.

        Raises:
            IndexError: if nobody waits.
        """
        if self.peek() is None:
            raise IndexError("nobody waits")
        client = self._turns[0]
        item, cost = self._queues[client].popleft()
        self._credit[client] -= cost
        self.cost -= cost
        self._count -= 1
        self._end_turn(client)
        return item

    def remove(self, item: Item) -> bool:
        """Take an item out wherever it stands; return whether it was there."""
        for client, queue in self._queues.items():
            place = next((i for i, (other, _) in enumerate(queue) if other is item), None)
            if place is None:
                continue
            self.cost -= queue[place][1]
            self._count -= 1
            del queue[place]
            if not queue:
                self._leave(client)
            elif place == 0 and self._turns[0] == client and self._is_chosen:
                self._is_chosen = self._credit[client] >= queue[0][1]
            return True
        return False

    def _end_turn(self, client: str) -> None:
        """Go on with the same client while its credit lasts, else with the next one."""
        queue = self._queues[client]
        if not queue:
            self._leave(client)
        elif self._credit[client] < queue[0][1]:
            self._turns.rotate(-1)
            self._is_chosen = False

    def _leave(self, client: str) -> None:
        """Forget a client without items, and its credit: nobody saves up."""
        if self._turns[0] == client:
            self._is_chosen = False
        self._turns.remove(client)
        del self._queues[client], self._credit[client]
