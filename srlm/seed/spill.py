"""Grouping and remembering more than memory holds: temporary SQLite databases.

SQLite is in the standard library, keeps a few megabytes in memory, and an unnamed database lives in a file of the
temporary folder that vanishes with the connection.
"""

import json
import sqlite3
from collections.abc import Iterator
from itertools import groupby
from typing import Any


class Groups:
    """JSON values collected under keys, given back group by group in the order in which the keys first came."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")  # nothing to go back to: a crash takes the file with it
        self._db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, key TEXT, value TEXT)")
        self._db.execute("BEGIN")

    def add(self, key: str, value: Any) -> None:
        """Put `value` under `key`."""
        self._db.execute("INSERT INTO rows (key, value) VALUES (?, ?)", (json.dumps(key), json.dumps(value)))

    def __iter__(self) -> Iterator[tuple[str, list[Any]]]:
        first = "(SELECT key AS k, min(number) AS first FROM rows GROUP BY key)"
        query = f"SELECT key, value FROM {first} JOIN rows ON key = k ORDER BY first, number"
        for key, group in groupby(self._db.execute(query), key=lambda row: row[0]):
            yield json.loads(key), [json.loads(value) for _, value in group]


class Seen:
    """Which keys came before."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def add(self, key: str) -> bool:
        """Remember `key`; True when it is new."""
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1
