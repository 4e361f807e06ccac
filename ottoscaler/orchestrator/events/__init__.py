"""Scaling events of a Redis stream: taken by a consumer group, acknowledged when their effect exists.

Redis remembers what was delivered and not acknowledged, the cluster remembers which pods exist, and a
pod's name follows from its event. Between the two nothing is lost and nothing is done twice.
"""
