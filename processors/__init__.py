"""Stream operators as pure functions of (state, batch), and the hosts that run them."""
