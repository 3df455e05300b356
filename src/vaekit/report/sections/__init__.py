"""The sections of the report, each where it makes sense for the model and the data."""
