"""Fixtures that several kinds of tests share."""

from tests.broker import broker

__all__ = ["broker"]
