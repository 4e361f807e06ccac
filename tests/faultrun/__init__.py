"""Sources under thousands of seeded faults while what they serve is compared with the truth.

    python -m tests.faultrun firebase-stream|firebase-poll|firestore [FAULTS] [SEED]

Everything is real but the cause of the faults: the supervisor, the readings, the evaluation behind the API,
the sources, and the servers. A judge asks every 20 ms, as the API would, and knows every write.
"""
