"""Agents in processes of their own: one that crashes, hangs or leaks takes nobody with it."""
