"""Sources under thousands of seeded faults while what they serve is compared with the truth.

    python -m tests.faultrun firebase-stream|firebase-poll|firestore|prometheus|redis|all [FAULTS] [SEED]

Everything is real but the cause of the faults: the supervisor, the sources, the readings, the API over TLS, the
page for Prometheus, and the servers. A judge asks every 20 ms and knows every write.
"""
