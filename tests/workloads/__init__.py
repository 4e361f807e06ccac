"""What runs in the pods that an HPA scales: job workers that claim, hold and finish jobs like the real ones."""
