"""`make bench`: what taly adds to what the vendors take, as ratios measured side by side."""
