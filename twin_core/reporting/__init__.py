"""Everything the engine can say of a network in one period, by 3GPP name; see `twin_core.reporting.report`."""
