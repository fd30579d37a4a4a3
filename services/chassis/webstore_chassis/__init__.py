"""What all WebStore services share: settings, HTTP edge and client, database, journal, relay, transports, consumer.

A service is built from it in its `app` module; nothing in here knows any one service.
"""
