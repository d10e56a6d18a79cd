"""ray job submit -- python jobs/table1_detection.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.table1_detection import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
