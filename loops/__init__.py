"""The two loops: agents propose, the inner loop verifies, the outer loop deploys, learning updates models."""
