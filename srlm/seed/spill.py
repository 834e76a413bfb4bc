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
        self._db = _database()
        self._db.execute("CREATE TABLE groups (key TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, grp INTEGER, value TEXT)")
        self._rows = 0

    def add(self, key: str, value: Any) -> None:
        """Put `value` under `key`."""
        self._rows += 1
        self._db.execute("INSERT OR IGNORE INTO groups VALUES (?, ?)", (key, self._rows))
        (group,) = self._db.execute("SELECT number FROM groups WHERE key = ?", (key,)).fetchone()
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?)", (self._rows, group, json.dumps(value)))

    def __iter__(self) -> Iterator[list[Any]]:
        # Sorted on disk, in one pass: looking up each group's rows would read the file all over again.
        for _, group in groupby(
            self._db.execute("SELECT grp, value FROM rows ORDER BY grp, number"), lambda row: row[0]
        ):
            yield [json.loads(value) for _, value in group]


class Seen:
    """Which keys came before."""

    def __init__(self) -> None:
        self._db = _database()
        self._db.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")

    def add(self, key: str) -> bool:
        """Remember `key`; True when it is new."""
        return self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount == 1


def _database() -> sqlite3.Connection:
    db = sqlite3.connect("", isolation_level=None)
    db.execute("PRAGMA journal_mode = OFF")  # nothing to go back to: a crash takes the file with it
    db.execute("BEGIN")
    return db
