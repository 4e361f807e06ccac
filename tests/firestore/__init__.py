"""The real Firestore emulator, and a proxy before it that fails on purpose."""
