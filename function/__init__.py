"""The deployable: events, cloud and wiring around the pixel pipeline in `shared`."""
