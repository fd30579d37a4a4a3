"""Fixtures that several kinds of tests share."""

from tests.broker import broker
from tests.databases import databases, server

__all__ = ["broker", "databases", "server"]
