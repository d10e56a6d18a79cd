"""ray job submit -- python jobs/table10_detection_patch.py [--scale smoke|mini|paper] [--seeds 3]"""

from experiments.table10_detection_patch import EXPERIMENT
from mvlab.cli import submit

if __name__ == "__main__":
    submit(EXPERIMENT)
