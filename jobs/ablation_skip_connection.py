"""ray job submit -- python jobs/ablation_skip_connection.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.figure12_skip_connection import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
