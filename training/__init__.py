"""Training: labelled traffic in, a reviewed and registered model out; from a checkout, `python -m training VERB`."""

import os

# Read when LightGBM is loaded: its threads else spin while they wait, which on busy cores costs two to twenty times.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
