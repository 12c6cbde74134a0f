"""This folder holds what the station computes from scores and reviews: pure functions, without database or
web.

- `drift`: has the camera, the light or the product changed? `ranks` and `martingale` are its two halves.
- `control`: control charts.
- `intervals`, `reviews`: how often good parts are called NG, how often defective ones are called OK.
- `queue`: which parts a person should review next.
- `recalibration`: a calibration from confirmed-good parts, a threshold by hand, and what either would have
  said.
"""
