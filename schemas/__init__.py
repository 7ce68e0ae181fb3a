"""Every event and record of twinloop as a pydantic model, and the Avro schemas derived from them."""
