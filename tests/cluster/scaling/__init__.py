"""The main job end to end: real queues, the adapter as the chart installs it, a real HPA, real pods."""
