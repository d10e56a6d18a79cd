"""ray job submit -- python jobs/error_curves.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.figure3_error_curves import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
