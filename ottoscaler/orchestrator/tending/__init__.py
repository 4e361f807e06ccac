"""What the leader does for every worker: quota, logs, word to the handler, removal when it has ended.

Each worker has one task (`caretaker`), all of them live on the one watch (`index`). A new leader begins
with what exists, so adopting workers is nothing special; what it cannot see in the pods themselves (how
much of a log was taken, what was told) is in one small ConfigMap (`marks`).
"""
